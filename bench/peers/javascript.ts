// The peers in JavaScript: the gateway on Node.js, and three lines on Bun.

import { join } from "node:path";

import { end, start, untilConnectable, USER } from "../machine/processes.ts";
import type { Proxy } from "./peers.ts";

/** It has no option for its address, and would listen on all of them: whatever it listens on becomes 127.0.0.1. */
const ON_LOOPBACK = `data:text/javascript,${encodeURIComponent(`
  import { Server } from "node:net";
  const { listen } = Server.prototype;
  Server.prototype.listen = function (port, _host, ready) { return listen.call(this, port, "127.0.0.1", ready); };
`)}`;

/** It holds no key: the client sends it, and the upstream's address, with each request. */
export async function startGateway(
  command: string[],
  directory: string,
  port: number,
  upstream: URL,
  key: string,
): Promise<Proxy> {
  const [node, program] = command as [string, string];
  const child = start([node, `--import=${ON_LOOPBACK}`, program, "--headless", `--port=${port}`], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    env: environment(directory),
    uid: USER,
    gid: USER,
  } as const);
  await untilConnectable(port, child);
  const headers = {
    "x-portkey-provider": "openai",
    "x-portkey-custom-host": `${upstream.origin}/v1`,
    Authorization: `Bearer ${key}`,
  };
  return { port, headers, group: child.pid, stop: () => end(child) };
}

export async function startThreeLines(directory: string, port: number, upstream: URL): Promise<Proxy> {
  const program = join(import.meta.dir, "../programs/three-lines.ts");
  const child = start([process.execPath, program, String(port), upstream.href], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
    env: environment(directory),
  } as const);
  await untilConnectable(port, child);
  return { port, group: child.pid, stop: () => end(child) };
}

const environment = (directory: string) => ({
  PATH: "/usr/bin:/bin",
  HOME: "/nonexistent",
  NODE_EXTRA_CA_CERTS: join(directory, "ca.crt"),
});
