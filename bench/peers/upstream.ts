// The upstreams of all proxies, started once: nginx for small responses, and a helper for event streams and large bodies.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { makeAuthority } from "../../test/harness/certificates.ts";
import { freePort } from "../machine/processes.ts";
import { Helper } from "../programs/helper.ts";
import { startUpstream } from "./proxies.ts";

export type Upstreams = {
  plain: URL;
  tls: URL;
  streams: URL;
  tlsStreams: URL;
  bulk: URL;
  servers: Helper;
  status: () => Promise<Status>;
  stop: () => Promise<void>;
};

/** What nginx has counted so far: connections, each with a TLS handshake if they are to a port with TLS; and requests. */
type Status = { connections: number; requests: number };

/** The question itself is a connection and a request, which are not counted. */
async function askStatus(port: number, questions: number): Promise<Status> {
  const headers = { Connection: "close" };
  const text = await (
    await fetch(`http://127.0.0.1:${port}/`, { headers, signal: AbortSignal.timeout(10_000) })
  ).text();
  const [, connections, requests] = /^ (\d+) \d+ (\d+) $/m.exec(text)!;
  return { connections: Number(connections) - questions, requests: Number(requests) - questions };
}

/** Starts them. The certificate of the authority is `ca.crt` in `directory`. */
export async function startUpstreams(nginx: string, directory: string): Promise<Upstreams> {
  const { caCert, server } = await makeAuthority();
  for (const [name, pem] of [
    ["ca.crt", caCert],
    ["upstream.crt", server.cert],
    ["upstream.key", server.key],
  ] as const) {
    writeFileSync(join(directory, name), `${pem.trimEnd()}\n`, { mode: 0o644 });
  }
  const servers = new Helper("servers.ts");
  const { eventPort, bulkPort } = await servers.ask<{ eventPort: number; bulkPort: number }>({
    do: "listen",
  });
  const ports = { plain: freePort(), tls: freePort(), tlsStreams: freePort(), status: freePort() };
  let questions = 0;
  const { stop } = await startUpstream(nginx, directory, ports, eventPort);
  const at = (scheme: string, host: string, port: number): URL =>
    new URL(`${scheme}://${host}:${port}/v1/responses`);
  return {
    plain: at("http", "127.0.0.1", ports.plain),
    tls: at("https", "localhost", ports.tls),
    streams: at("http", "127.0.0.1", eventPort),
    tlsStreams: at("https", "localhost", ports.tlsStreams),
    bulk: at("http", "127.0.0.1", bulkPort),
    servers,
    status: () => askStatus(ports.status, ++questions),
    stop,
  };
}
