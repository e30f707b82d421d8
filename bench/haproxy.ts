// HAProxy as a peer: one route, an injected header, connections to the upstream kept and shared.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { end, start } from "./children.ts";
import { untilConnectable } from "./ports.ts";

/** One thread, as nginx has one worker. */
function configuration(port: number, upstream: URL, key: string, directory: string): string {
  const tls =
    upstream.protocol === "https:"
      ? `ssl verify required ca-file ${join(directory, "ca.crt")} sni str(localhost) verifyhost localhost`
      : "";
  return `
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  # Otherwise an event may wait for the next to fill a segment.
  option http-no-delay
frontend client
  bind 127.0.0.1:${port} backlog 4096
  http-request deny deny_status 403 unless { method POST } { path /v1/responses }
  http-request set-header Authorization "Bearer ${key}"
  http-request set-header Host localhost
  default_backend api
backend api
  http-reuse always
  server api 127.0.0.1:${upstream.port} ${tls}
`;
}

/** Starts HAProxy; resolves once it accepts connections on `port`. */
export async function startHaproxy(
  haproxy: string,
  directory: string,
  port: number,
  upstream: URL,
  key: string,
) {
  const file = join(directory, `haproxy-${port}.cfg`);
  writeFileSync(file, configuration(port, upstream, key, directory));
  const child = start([haproxy, "-db", "-q", "-f", file], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  } as const);
  await untilConnectable(port, child.exited);
  return { group: child.pid, stop: () => end(child) };
}
