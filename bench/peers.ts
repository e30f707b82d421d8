// What is compared: a direct connection, the program, codex, nginx and HAProxy, each started in front of a given upstream.

import { chmodSync, closeSync, copyFileSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { end, start } from "./children.ts";
import { startHaproxy } from "./haproxy.ts";
import { peerConfiguration, startNginx } from "./nginx.ts";
import { freePort } from "./ports.ts";
import { groupMembers } from "./proc.ts";
import type { Tools } from "./requirements.ts";

export const PEERS = ["direct", "ours", "codex", "nginx", "HAProxy"] as const;
export const TLS_PEERS = ["direct", "ours", "codex", "nginx", "HAProxy"] as const;

/** The proxies' key, which no other text contains by chance. */
export const KEY = `sk-bench-${"0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(2)}`;

export type Running = {
  /** Where requests go. */
  url: string;
  /** The processes of the peer; none of the direct connection. */
  pids: () => number[];
  stop: () => Promise<void>;
};

/** Where everything lies that peers need: ca.crt, the key in a file, the program's copy. */
export type Site = { directory: string; tools: Tools; program: string; keyFile: string };

/** Lays out a directory: the program as a host would have it installed (root's, mode 0711), and the key. */
export function makeSite(directory: string, tools: Tools): Site {
  const program = join(directory, "responses-api-proxy");
  copyFileSync(resolve(import.meta.dir, "../dist/responses-api-proxy"), program);
  chmodSync(program, 0o711);
  const keyFile = join(directory, "key");
  writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
  return { directory, tools, program, keyFile };
}

/** Starts a peer that forwards to `upstream`. Throws with the reason where it cannot be. */
export async function startPeer(name: string, upstream: URL, site: Site): Promise<Running> {
  const reason = site.tools.absent.get(name);
  if (reason !== undefined) throw new Error(reason);
  if (name === "direct") return { url: upstream.href, pids: () => [], stop: async () => {} };
  const { port, group, stop } = await startProxy(name, upstream, site);
  return { url: `http://127.0.0.1:${port}/v1/responses`, pids: () => groupMembers(group), stop };
}

type Started = { port: number; group: number; stop: () => Promise<void> };

async function startProxy(name: string, upstream: URL, site: Site): Promise<Started> {
  const { directory, tools, program } = site;
  const port = freePort();
  switch (name) {
    case "nginx": {
      const configuration = peerConfiguration(port, upstream, KEY);
      return { port, ...(await startNginx(tools.nginx, directory, configuration, port)) };
    }
    case "HAProxy":
      return { port, ...(await startHaproxy(tools.haproxy!, directory, port, upstream, KEY)) };
    case "codex":
      return startWithServerInfo([tools.codex!, "responses-api-proxy"], upstream, site);
    case "ours":
      return startWithServerInfo([program], upstream, site);
    default:
      throw new Error(`there is no peer ${name}`);
  }
}

/** Environment in which the two programs with a key on standard input trust the benchmark's authority, each in its way. */
const trust = (directory: string): Record<string, string> => ({
  SSL_CERT_FILE: join(directory, "ca.crt"),
  PATH: "/usr/bin:/bin",
  HOME: "/nonexistent",
});

async function startWithServerInfo(command: string[], upstream: URL, site: Site): Promise<Started> {
  const serverInfo = join(site.directory, `server-info-${freePort()}.json`);
  const key = openSync(site.keyFile, "r");
  const child = start([...command, `--server-info=${serverInfo}`, `--upstream-url=${upstream.href}`], {
    stdin: key,
    stdout: "ignore",
    stderr: "ignore",
    env: trust(site.directory),
  } as const);
  closeSync(key);
  for (;;) {
    const port = readPort(serverInfo);
    if (port !== undefined) {
      rmSync(serverInfo, { force: true });
      return { port, group: child.pid, stop: () => end(child) };
    }
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode} before it listened`);
    await Bun.sleep(5);
  }
}

function readPort(serverInfo: string): number | undefined {
  try {
    return JSON.parse(readFileSync(serverInfo, "utf8")).port;
  } catch {
    return undefined; // Not there, or not yet whole.
  }
}
