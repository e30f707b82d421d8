// What the benchmark requires of the machine: root, wrk, and the peers, each with its version.

import { existsSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { run } from "./processes.ts";

const CODEX_VERSION = "0.169.0";
/** The npm packages with the native binaries, and the directory in them, by architecture. */
const CODEX_TARGETS: Record<string, [packageName: string, triple: string]> = {
  x64: ["codex-linux-x64", "x86_64-unknown-linux-musl"],
  arm64: ["codex-linux-arm64", "aarch64-unknown-linux-musl"],
};

export type Tools = {
  /** Paths of the programs; undefined if one is not there. */
  codex: string | undefined;
  nginx: string;
  haproxy: string | undefined;
  /** Why a peer is not measured. */
  absent: Map<string, string>;
  versions: Record<string, string>;
};

/** Throws if the user is not root. */
export function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new Error("requires root: it reads the memory of the programs that it compares");
}

/** Finds the programs and installs codex. Throws what to do if the benchmark cannot run at all. */
export async function requireTools(): Promise<Tools> {
  const [wrk, nginx, haproxy] = ["wrk", "nginx", "haproxy"].map((name) =>
    Bun.which(name, { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` }),
  );
  if (!wrk || !nginx) {
    throw new Error("requires wrk (the load) and nginx (the upstream): apt-get install wrk nginx haproxy");
  }
  const absent = new Map<string, string>();
  if (!haproxy) absent.set("HAProxy", "not installed");
  const codex = await installCodex().catch((error: Error) => {
    absent.set("codex", `not installed: ${error.message.split("\n")[0]}`);
    return undefined;
  });
  const versions: Record<string, string> = {
    "responses-api-proxy": (await import("../package.json")).version,
    bun: Bun.version,
    nginx: await versionOf([nginx, "-v"]),
    wrk: await versionOf([wrk, "-v"]),
  };
  if (haproxy) versions["haproxy"] = await versionOf([haproxy, "-v"]);
  if (codex !== undefined) versions["codex"] = CODEX_VERSION;
  return { codex, nginx, haproxy: haproxy ?? undefined, absent, versions };
}

/** Installs the npm package outside the project, once. Returns the path of its native binary. */
async function installCodex(): Promise<string> {
  const target = CODEX_TARGETS[process.arch];
  if (target === undefined) throw new Error(`no codex for ${process.arch}`);
  const cache = join(tmpdir(), "responses-api-proxy-bench");
  mkdirSync(cache, { recursive: true, mode: 0o755 });
  const owner = lstatSync(cache);
  // Anybody can take a name in /tmp first, and what is in there is run as root.
  if (!owner.isDirectory() || owner.uid !== 0 || (owner.mode & 0o022) !== 0) {
    throw new Error(`${cache} belongs to somebody else`);
  }
  const [packageName, triple] = target;
  const binary = join(cache, `node_modules/@openai/${packageName}/vendor/${triple}/bin/codex`);
  const installed = join(cache, "node_modules/@openai/codex/package.json");
  if (!existsSync(binary) || (await Bun.file(installed).json()).version !== CODEX_VERSION) {
    console.error(`installing @openai/codex ${CODEX_VERSION} into ${cache}`);
    const npm = [
      "npm",
      "install",
      "--no-audit",
      "--no-fund",
      "--prefix",
      cache,
      `@openai/codex@${CODEX_VERSION}`,
    ];
    await run(npm, { env: process.env as Record<string, string> });
  }
  return binary;
}

/** Returns the first version number in the output of the program, whatever its exit code. */
async function versionOf(command: string[]): Promise<string> {
  const output = await run(["sh", "-c", '"$@" 2>&1 || true', "sh", ...command]);
  return /\d+\.\d+[\w.+~-]*/.exec(output)?.[0] ?? "unknown";
}
