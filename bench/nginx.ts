// nginx in its two parts: the upstream that is not the bottleneck, and a peer with one route and an injected header.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { endInOrder, start } from "./children.ts";
import { untilConnectable } from "./ports.ts";

/** One worker: what it is compared with is one process, too, and two processors have a load, a proxy and an upstream to carry. */
const frame = (http: string): string => `
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 15000; }
http {
  access_log off;
  server_tokens off;
  # The default closes a connection after 1,000 requests.
  keepalive_requests 1000000000;
  ${http}
}`;

export type UpstreamPorts = { plain: number; tls: number; tlsStreams: number };

/**
 * Answers every request with 84 bytes of JSON, plain or over TLS; on the port for streams, TLS is taken off and the event server asked.
 * Over TLS it offers HTTP/2 and HTTP/1.1.
 */
export const upstreamConfiguration = (ports: UpstreamPorts, eventPort: number): string =>
  frame(`
  ssl_certificate upstream.crt;
  ssl_certificate_key upstream.key;
  default_type application/json;
  server {
    listen 127.0.0.1:${ports.plain} backlog=4096;
    listen 127.0.0.1:${ports.tls} ssl http2 backlog=4096;
    location / {
      return 200 '{"id":"resp_1","object":"response","status":"completed","model":"gpt-5","output":[]}';
    }
  }
  server {
    listen 127.0.0.1:${ports.tlsStreams} ssl http2 backlog=4096;
    http2_max_concurrent_streams 1000;
    location / {
      proxy_pass http://127.0.0.1:${eventPort};
      proxy_http_version 1.1;
      proxy_buffering off;
    }
  }`);

/** Forwards `POST /v1/responses` with the key, over connections that are kept, each event at once, bodies as they come. */
export function peerConfiguration(port: number, upstream: URL, key: string): string {
  return frame(`
  proxy_ssl_trusted_certificate ca.crt;
  proxy_ssl_verify on;
  proxy_ssl_server_name on;
  proxy_ssl_name localhost;
  client_max_body_size 0;
  upstream api {
    server 127.0.0.1:${upstream.port};
    keepalive 5000;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /v1/responses {
      limit_except POST { deny all; }
      proxy_pass ${upstream.protocol}//api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
      proxy_set_header Authorization "Bearer ${key}";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
    }
    location / { return 403; }
  }`);
}

/** Starts nginx with this configuration, whose relative names lie in `directory`; resolves once it accepts connections on `port`. */
export async function startNginx(nginx: string, directory: string, configuration: string, port: number) {
  const file = join(directory, `nginx-${port}.conf`);
  writeFileSync(file, configuration.replace("nginx.pid", `nginx-${port}.pid`));
  const child = start([nginx, "-p", directory, "-c", file], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  } as const);
  await untilConnectable(port, child.exited);
  return { group: child.pid, stop: () => endInOrder(child) };
}
