// The program: fetched by its address, known by its digest, and installed so that its user can execute it and not read it.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

import { addressOf, INSTALLED, LATEST, RELEASES, SUDO } from "./release.ts";
import { Failure, warn } from "./runner.ts";

const IN_PACKAGE = "package/bin/responses-api-proxy";
const MAX_BYTES = 512 * 1024 * 1024;
const TRIES = 3;
const LIMIT_MS = 120_000;

/** Children get no variable of the workflow's, and look nothing up where a checkout could put it. */
const CLEAN = { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }, cwd: "/" };

/** Returns the program for this machine, which has the digest that the action has for it. Throws Failure. */
export async function fetchProgram(version: string): Promise<Buffer> {
  const release = version || LATEST;
  const digests = Object.hasOwn(RELEASES, release) ? RELEASES[release] : undefined;
  if (digests === undefined)
    throw new Failure(
      `version ${JSON.stringify(release)}: this release of the action knows ${Object.keys(RELEASES).join(", ")}`,
    );
  const target = targetHere();
  const program = unpack(await download(addressOf(target, release)));
  const digest = createHash("sha256").update(program).digest("hex");
  if (digest !== digests[target])
    throw new Failure(`the program for ${target} has the SHA-256 ${digest}, and not ${digests[target]}`);
  return program;
}

/** The target that this machine needs: one for glibc if its loader is there, as packaging/launcher.sh chooses. Throws Failure. */
function targetHere(): string {
  const { platform, arch } = process;
  if (platform !== "linux" || (arch !== "x64" && arch !== "arm64"))
    throw new Failure(`only Linux on x64 and arm64 is supported, not ${platform} on ${arch}`);
  const loader = arch === "x64" ? "/lib64/ld-linux-x86-64.so.2" : "/lib/ld-linux-aarch64.so.1";
  return `linux-${arch}${existsSync(loader) ? "" : "-musl"}`;
}

async function download(address: string): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(address, { signal: AbortSignal.timeout(LIMIT_MS) });
      if (response.ok) return Buffer.from(await response.arrayBuffer());
      throw new Error(`status ${response.status}`);
    } catch (error) {
      const { cause, message } = error as Error & { cause?: { code?: string } };
      if (attempt === TRIES) throw new Failure(`${address} cannot be fetched: ${cause?.code ?? message}`);
    }
  }
}

/** Returns the program in a package (tar(5), ustar). Throws Failure. */
function unpack(tarball: Buffer): Buffer {
  const tar = gunzip(tarball);
  const textAt = (start: number, length: number): string =>
    tar.toString("latin1", start, start + length).replace(/\0.*$/s, "");
  for (let header = 0; header + 512 <= tar.length;) {
    const size = Number.parseInt(textAt(header + 124, 12), 8) || 0;
    const [start, kind] = [header + 512, textAt(header + 156, 1)];
    if (textAt(header, 100) === IN_PACKAGE && (kind === "0" || kind === ""))
      return tar.subarray(start, start + size);
    header = start + Math.ceil(size / 512) * 512;
  }
  throw new Failure(`there is no ${IN_PACKAGE} in the package`);
}

function gunzip(tarball: Buffer): Buffer {
  try {
    return gunzipSync(tarball, { maxOutputLength: MAX_BYTES });
  } catch {
    throw new Failure("the package is no gzip file, or too large");
  }
}

/**
 * Root writes what it reads from standard input, so that what was compared with the digest is what is installed: a file in between could be
 * exchanged by any process of the runner's user. The file takes its place when it is complete.
 */
const INSTALL = `set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "0:$2" "$new"
chmod 0710 "$new"
if [ "$2" != 0 ]; then setcap cap_ipc_lock=ep "$new" || echo no-setcap; fi
mv -T "$new" "$1"`;

/** Installs the program and returns its path: as root's if this user can become root, else in `directory`. Throws Failure. */
export function install(program: Buffer, directory: string): string {
  const isRoot = process.getuid!() === 0;
  if (isRoot || runAsRoot("true", []).status === 0) {
    const { status, stdout, stderr } = runAsRoot(INSTALL, [INSTALLED, String(process.getgid!())], program);
    if (status !== 0) throw new Failure(`${INSTALLED} cannot be written: ${stderr.trim()}`);
    if (stdout.includes("no-setcap"))
      warn(
        "setcap failed: the proxy's memory may not be locked, and copies of the key may be written to the swap device",
      );
    return INSTALLED;
  }
  const path = `${directory}/responses-api-proxy`;
  writeFileSync(path, program, { mode: 0o500, flag: "wx" });
  warn(
    "there is no sudo here: the program's file is this user's, so its memory may not be locked, and a process of this user that runs already can get at the key during the start",
  );
  return path;
}

/** Runs a script with sh as root, with nothing of the workflow's environment. */
function runAsRoot(
  script: string,
  args: string[],
  input: Buffer | string = "",
): { status: number | null; stdout: string; stderr: string } {
  const words = ["/bin/sh", "-c", script, "sh", ...args];
  const [command = "", ...rest] = process.getuid!() === 0 ? words : [SUDO, "-n", ...words];
  return spawnSync(command, rest, { ...CLEAN, input, encoding: "utf8" });
}
