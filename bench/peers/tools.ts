// What the benchmark requires of the machine: root, wrk and nginx; and the peers that are there, each with its version.

import { existsSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import { run } from "../machine/processes.ts";

const CODEX = { name: "@openai/codex", version: "0.169.0" };
const GATEWAY = { name: "@portkey-ai/gateway", version: "1.15.2" };
/** The npm packages with codex's native binaries, and the directory in them, by architecture. */
const CODEX_TARGETS: Record<string, [packageName: string, triple: string]> = {
  x64: ["codex-linux-x64", "x86_64-unknown-linux-musl"],
  arm64: ["codex-linux-arm64", "aarch64-unknown-linux-musl"],
};

export type Tools = {
  nginx: string;
  /** Paths of the programs; undefined if one is not there. The gateway is Node.js and a file. */
  codex: string | undefined;
  haproxy: string | undefined;
  gateway: string[] | undefined;
  /** Why a peer is not measured. */
  absent: Map<string, string>;
  versions: Record<string, string>;
};

/** Throws if the user is not root. */
export function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new Error("requires root: it reads the memory of the programs that it compares");
}

/** Finds the programs, and installs those from npm. Throws what to do if the benchmark cannot run at all. */
export async function requireTools(): Promise<Tools> {
  const [wrk, nginx, haproxy, node] = ["wrk", "nginx", "haproxy", "node"].map(
    (name) => Bun.which(name, { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` }) ?? undefined,
  );
  if (wrk === undefined || nginx === undefined) {
    throw new Error("requires wrk (the load) and nginx (the upstream): apt-get install wrk nginx haproxy");
  }
  const absent = new Map<string, string>();
  const unless = async <T>(name: string, found: Promise<T>): Promise<T | undefined> =>
    found.catch((error: Error) => {
      absent.set(name, `not installed: ${error.message.split("\n")[0]}`);
      return undefined;
    });
  if (haproxy === undefined) absent.set("HAProxy", "not installed");
  const codex = await unless("codex", installCodex());
  const gateway = await unless("gateway", installGateway(node));
  const versions: Record<string, string> = {
    "responses-api-proxy": (await import("../../package.json")).version,
    Bun: Bun.version,
    nginx: await versionOf([nginx, "-v"]),
    wrk: await versionOf([wrk, "-v"]),
  };
  if (haproxy !== undefined) versions["HAProxy"] = await versionOf([haproxy, "-v"]);
  if (codex !== undefined) versions["codex"] = CODEX.version;
  if (gateway !== undefined) {
    versions[GATEWAY.name] = GATEWAY.version;
    versions["Node.js"] = await versionOf([gateway[0]!, "--version"]);
  }
  return { nginx, codex, haproxy, gateway, absent, versions };
}

async function installCodex(): Promise<string> {
  const target = CODEX_TARGETS[process.arch];
  if (target === undefined) throw new Error(`no codex for ${process.arch}`);
  const modules = await install(CODEX);
  const [packageName, triple] = target;
  return join(modules, `@openai/${packageName}/vendor/${triple}/bin/codex`);
}

async function installGateway(node: string | undefined): Promise<string[]> {
  if (node === undefined) throw new Error("it requires Node.js");
  return [node, join(await install(GATEWAY), GATEWAY.name, "build/start-server.js")];
}

/** Returns a directory outside of the checkout, for what is kept from one run to the next. Throws if it is somebody else's. */
export function cacheDirectory(): string {
  const cache = join(tmpdir(), "responses-api-proxy-bench");
  mkdirSync(cache, { recursive: true, mode: 0o755 });
  const owner = lstatSync(cache);
  // Anybody can take a name in /tmp first, and what is in there is run as root.
  if (!owner.isDirectory() || owner.uid !== 0 || (owner.mode & 0o022) !== 0) {
    throw new Error(`${cache} belongs to somebody else`);
  }
  return cache;
}

/** Installs an npm package, once. Returns its node_modules. */
async function install({ name, version }: { name: string; version: string }): Promise<string> {
  const prefix = join(cacheDirectory(), `${basename(name)}-${version}`);
  const done = join(prefix, "node_modules/.package-lock.json");
  if (!existsSync(done)) {
    console.error(`installing ${name} ${version} into ${prefix}`);
    const flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", prefix];
    const env = process.env as Record<string, string>;
    await run(["npm", "install", ...flags, `${name}@${version}`], { env });
  }
  return join(prefix, "node_modules");
}

/** Returns the first version number in the output of the program, whatever its exit code. */
async function versionOf(command: string[]): Promise<string> {
  const output = await run(["sh", "-c", '"$@" 2>&1 || true', "sh", ...command]);
  return /\d+\.\d+[\w.+~-]*/.exec(output)?.[0] ?? "unknown";
}
