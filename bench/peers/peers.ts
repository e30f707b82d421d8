// What is compared: a direct connection, the program, codex, nginx, HAProxy and a JavaScript gateway, each started in front of an upstream.

import { chmodSync, closeSync, copyFileSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { groupMembers } from "../machine/figures.ts";
import { end, freePort, start, untilStarted } from "../machine/processes.ts";
import { startGateway, startThreeLines } from "./javascript.ts";
import { type Server, startHaproxy, startNginxProxy } from "./proxies.ts";
import type { Tools } from "./tools.ts";
import type { Upstreams } from "./upstream.ts";

/** Those that hold a key and that anything can be sent through. */
export const PROXIES = ["ours", "codex", "nginx", "HAProxy"];
export const ALL_PROXIES = [...PROXIES, "gateway"];
export const PEERS = ["direct", ...ALL_PROXIES];
/** What `Bun.serve` and `fetch` cost by themselves. Nobody's proxy, so it has no column. */
export const THREE_LINES = "three lines of Bun";

/** The key of the proxies. No other text contains it by chance. */
export const KEY = `sk-bench-${"0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(2)}`;

export type Peer = {
  /** Where requests go, and the header fields that they need. */
  url: string;
  headers: Record<string, string>;
  /** The processes of the peer; a direct connection has none. */
  pids: () => number[];
  stop: () => Promise<void>;
};

/** Where everything is that peers need: ca.crt, the key in a file, a copy of the program. */
export type Site = { directory: string; tools: Tools; program: string; keyFile: string };

/** Makes the site: the program as a host has it installed (root's, mode 0711), and the key. */
export function makeSite(directory: string, tools: Tools): Site {
  const program = join(directory, "responses-api-proxy");
  copyFileSync(resolve(import.meta.dir, "../../dist/responses-api-proxy"), program);
  chmodSync(program, 0o711);
  const keyFile = join(directory, "key");
  writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
  return { directory, tools, program, keyFile };
}

/** What each block of measurements gets. */
export type Bench = {
  site: Site;
  upstreams: Upstreams;
  /** How often everything is measured; `fewRounds` if that takes long or is a point between two others. */
  rounds: number;
  fewRounds: number;
  starts: number;
  /** How long a load is measured; how long a peer is silent before its silence is measured, and how long that is. */
  loadSeconds: number;
  restSeconds: number;
  idleSeconds: number;
};

/** Starts the peers, hands them to `measure` by name, and ends them. The name of one that could not be started throws why. */
export async function withPeers<Result>(
  names: readonly string[],
  upstream: URL,
  site: Site,
  measure: (peerOf: (name: string) => Peer) => Promise<Result>,
): Promise<Result> {
  const peers = new Map<string, Peer | Error>();
  try {
    for (const name of names)
      peers.set(name, await startPeer(name, upstream, site).catch((error: Error) => error));
    return await measure((name) => {
      const peer = peers.get(name)!;
      if (peer instanceof Error) throw peer;
      return peer;
    });
  } finally {
    for (const peer of peers.values()) if (!(peer instanceof Error)) await peer.stop();
  }
}

/** Starts a peer that forwards to `upstream`. Throws why it cannot be started. */
export async function startPeer(name: string, upstream: URL, site: Site): Promise<Peer> {
  if (name === "direct") return { url: upstream.href, headers: {}, pids: () => [], stop: async () => {} };
  const reason = site.tools.absent.get(name);
  if (reason !== undefined) throw new Error(reason);
  const { port, group, headers = {}, stop } = await startProxy(name, upstream, site);
  const url = `http://127.0.0.1:${port}/v1/responses`;
  return { url, headers, pids: () => groupMembers(group), stop };
}

export type Proxy = Server & { port: number; headers?: Record<string, string> };

async function startProxy(name: string, upstream: URL, site: Site): Promise<Proxy> {
  const { directory, tools, program } = site;
  if (name === "ours") return startWithServerInfo([program], upstream, site);
  if (name === "codex") return startWithServerInfo([tools.codex!, "responses-api-proxy"], upstream, site);
  const port = freePort();
  if (name === "gateway") return startGateway(tools.gateway!, directory, port, upstream, KEY);
  if (name === THREE_LINES) return startThreeLines(directory, port, upstream);
  const server =
    name === "nginx"
      ? startNginxProxy(tools.nginx, directory, port, upstream, KEY)
      : startHaproxy(tools.haproxy!, directory, port, upstream, KEY);
  return { port, ...(await server) };
}

/** Starts one of the two programs that read the key from standard input and write a server-info file. */
async function startWithServerInfo(command: string[], upstream: URL, site: Site): Promise<Proxy> {
  const serverInfo = join(site.directory, `server-info-${freePort()}.json`);
  const key = openSync(site.keyFile, "r");
  const child = start([...command, `--server-info=${serverInfo}`, `--upstream-url=${upstream.href}`], {
    stdin: key,
    stdout: "ignore",
    stderr: "ignore",
    env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent", SSL_CERT_FILE: join(site.directory, "ca.crt") },
  } as const);
  closeSync(key);
  const port = await untilStarted(child, () => readPort(serverInfo));
  rmSync(serverInfo, { force: true });
  return { port, group: child.pid, stop: () => end(child) };
}

function readPort(serverInfo: string): number | undefined {
  try {
    return JSON.parse(readFileSync(serverInfo, "utf8")).port;
  } catch {
    return undefined; // It does not exist yet, or is not complete.
  }
}
