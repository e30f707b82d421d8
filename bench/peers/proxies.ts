// nginx and HAProxy as one would set them up in the program's place: one route, an injected header, connections that are kept, and each
// event passed on at once. And nginx as the upstream.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { end, endInOrder, start, untilConnectable } from "../machine/processes.ts";

/** What a started server is: the process group it leads. */
export type Server = { group: number; stop: () => Promise<void> };

/** One worker: the program is one process as well, and two processors carry a load, a proxy and an upstream. */
const nginxFrame = (port: number, http: string): string => `
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx-${port}.pid;
error_log stderr crit;
events { worker_connections 15000; }
http {
  access_log off;
  server_tokens off;
  # The default closes a connection after 1,000 requests.
  keepalive_requests 1000000000;
  ${http}
}`;

/** Starts nginx with the `http` block; relative names in it are in `directory`. Resolves when it accepts connections on `port`. */
async function startNginx(nginx: string, directory: string, port: number, http: string): Promise<Server> {
  const file = join(directory, `nginx-${port}.conf`);
  writeFileSync(file, nginxFrame(port, http));
  const child = start([nginx, "-p", directory, "-c", file], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  } as const);
  await untilConnectable(port, child);
  return { group: child.pid, stop: () => endInOrder(child) };
}

type UpstreamPorts = { plain: number; tls: number; tlsStreams: number; status: number };

/**
 * Starts the upstream: each request gets 84 bytes of JSON, plain or over TLS. On the port for streams it only adds TLS to the server of
 * event streams. Over TLS it offers HTTP/2 and HTTP/1.1. The port for the status says how many connections and requests there were.
 */
export const startUpstream = (nginx: string, directory: string, ports: UpstreamPorts, eventPort: number) =>
  startNginx(
    nginx,
    directory,
    ports.plain,
    `
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
  }
  server {
    listen 127.0.0.1:${ports.status};
    location / { stub_status; }
  }`,
  );

/** Starts nginx as a proxy on `port`. */
export const startNginxProxy = (nginx: string, directory: string, port: number, upstream: URL, key: string) =>
  startNginx(
    nginx,
    directory,
    port,
    `
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
  }`,
  );

/** One thread, as nginx has one worker. */
function haproxyConfiguration(port: number, upstream: URL, key: string, directory: string): string {
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
  # Otherwise an event may wait for the next one to fill a segment.
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

/** Starts HAProxy as a proxy on `port`. */
export async function startHaproxy(
  haproxy: string,
  directory: string,
  port: number,
  upstream: URL,
  key: string,
): Promise<Server> {
  const file = join(directory, `haproxy-${port}.cfg`);
  writeFileSync(file, haproxyConfiguration(port, upstream, key, directory));
  const child = start([haproxy, "-db", "-q", "-f", file], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  } as const);
  await untilConnectable(port, child);
  return { group: child.pid, stop: () => end(child) };
}
