// The other side of every proxy, started once: nginx for plain answers, and the event server, plain and behind nginx with TLS.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { makeAuthority } from "../test/harness/certificates.ts";
import { Helper } from "./helper.ts";
import { startNginx, upstreamConfiguration } from "./nginx.ts";
import { freePort } from "./ports.ts";

export type Upstreams = {
  plain: URL;
  tls: URL;
  streams: URL;
  tlsStreams: URL;
  bulk: URL;
  eventServer: Helper;
  stop: () => Promise<void>;
};

/** Starts them; the authority's certificate is `ca.crt` in `directory`. */
export async function startUpstreams(nginx: string, directory: string): Promise<Upstreams> {
  const { caCert, server } = await makeAuthority();
  for (const [name, pem] of [
    ["ca.crt", caCert],
    ["upstream.crt", server.cert],
    ["upstream.key", server.key],
  ] as const) {
    writeFileSync(join(directory, name), `${pem.trimEnd()}\n`, { mode: 0o644 });
  }
  const eventServer = new Helper("event-server.ts");
  const bulkServer = new Helper("bulk-server.ts");
  const { port: eventPort } = await eventServer.ask<{ port: number }>({ do: "listen" });
  const { port: bulkPort } = await bulkServer.ask<{ port: number }>({ do: "listen" });
  const ports = { plain: freePort(), tls: freePort(), tlsStreams: freePort() };
  const plainServer = await startNginx(
    nginx,
    directory,
    upstreamConfiguration(ports, eventPort),
    ports.plain,
  );
  const at = (scheme: string, host: string, port: number): URL =>
    new URL(`${scheme}://${host}:${port}/v1/responses`);
  return {
    plain: at("http", "127.0.0.1", ports.plain),
    tls: at("https", "localhost", ports.tls),
    streams: at("http", "127.0.0.1", eventPort),
    tlsStreams: at("https", "localhost", ports.tlsStreams),
    bulk: at("http", "127.0.0.1", bulkPort),
    eventServer,
    stop: plainServer.stop,
  };
}
