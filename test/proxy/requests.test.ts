// Which requests pass, on raw sockets: each refusal beside the neighbour that passes, and of those that pass all that the upstream got. Each is
// sent to the port and to the Unix socket, and must come to the same.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { type Address, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();
const socket = join(temporaryDirectory(), "proxy.sock");
let proxy: Proxy;

beforeAll(async () => {
  const args = ["--port=0", `--socket=${socket}`, "--http-shutdown", `--upstream-url=${upstream.url}`];
  proxy = await Proxy.start({ args });
});

type Request = { line?: string; host?: string | null; fields?: string[]; body?: string };

/** Returns a request as it goes over the wire; by default the plainest that passes. */
function request({
  line = "POST /v1/responses HTTP/1.1",
  host = "127.0.0.1",
  fields,
  body = "hi",
}: Request): string {
  const lines = [
    line,
    ...(host === null ? [] : [`Host: ${host}`]),
    ...(fields ?? []),
    `Content-Length: ${body.length}`,
  ];
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}

/** The whole header map that the upstream must have received, given the client's own part of it. */
function whole(fields: Record<string, string>): Record<string, string[]> {
  const all: Record<string, string> = {
    accept: "*/*",
    authorization: `Bearer ${CANARY_KEY}`,
    connection: "keep-alive",
    "content-length": "2",
    host: `127.0.0.1:${upstream.port}`,
    "user-agent": "Bun/1.4.5",
    ...fields,
  };
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, [value]]));
}

function asMap(fields: readonly [string, string][]): Record<string, string[]> {
  const map: Record<string, string[]> = Object.create(null);
  for (const [name, value] of fields) (map[name] ??= []).push(value);
  return { ...map };
}

async function exchange(wire: string) {
  const overTcp = await exchangeOver(proxy.port, wire);
  expect(withoutDate(await exchangeOver(socket, wire))).toEqual(withoutDate(overTcp));
  return overTcp;
}

async function exchangeOver(address: Address, wire: string) {
  const before = upstream.requests.length;
  const answer = await roundTrip(address, wire);
  return { answer, received: upstream.requests.slice(before) };
}

function withoutDate(exchanged: Awaited<ReturnType<typeof exchangeOver>>): unknown {
  return JSON.parse(JSON.stringify(exchanged).replace(/(Date: |"date",")[^"\\]*/g, "$1"));
}

type Passing = [name: string, request: Request, upstreamGets?: Record<string, string>];

const PASSING: Passing[] = [
  ["the plainest request", {}],
  ["a Host with a port", { host: "127.0.0.1:8080" }],
  ["Host localhost", { host: "localhost" }],
  ["Host LOCALHOST with a port", { host: "LOCALHOST:1" }],
  ["Host [::1]", { host: "[::1]" }],
  ["Host [::1] with a port", { host: "[::1]:65535" }],
  [
    "198 fields",
    { fields: Array<string>(196).fill("X-A: 1") },
    { "x-a": Array<string>(196).fill("1").join(", ") },
  ],
  ["HTTP/1.0 with a Host", { line: "POST /v1/responses HTTP/1.0" }],
  ["the absolute form of the proxy's own URL", { line: "POST http://127.0.0.1/v1/responses HTTP/1.1" }],
  ["HTTP-Referer, a field of its own", { fields: ["HTTP-Referer: a"] }, { "http-referer": "a" }],
  ["Sec-Fetch-Mode alone", { fields: ["Sec-Fetch-Mode: cors"] }, { "sec-fetch-mode": "cors" }],
  [
    "User-Agent and Accept of the client",
    { fields: ["User-Agent: a", "Accept: b"] },
    { "user-agent": "a", accept: "b" },
  ],
  [
    "Accept-Encoding, not added, not changed",
    { fields: ["Accept-Encoding: br"] },
    { "accept-encoding": "br" },
  ],
  [
    "Content-Type and Content-Encoding",
    { fields: ["Content-Type: x/y", "Content-Encoding: zstd"] },
    { "content-type": "x/y", "content-encoding": "zstd" },
  ],
  ["a repeated field, joined as RFC 9110 §5.3 allows", { fields: ["X-A: 1", "x-a: 2"] }, { "x-a": "1, 2" }],
  [
    "two Cookie lines, joined as RFC 6265 wants",
    { fields: ["Cookie: a=1", "Cookie: b=2"] },
    { cookie: "a=1; b=2" },
  ],
  ["an empty value", { fields: ["X-Empty:"] }, { "x-empty": "" }],
  ["bytes above 0x7f in a value", { fields: ["X-Bytes: \xe9\xff"] }, { "x-bytes": "\xe9\xff" }],
  [
    "names of object properties",
    { fields: ["__proto__: a", "constructor: b"] },
    JSON.parse('{"__proto__":"a","constructor":"b"}'),
  ],
  [
    "OpenAI's own fields",
    { fields: ["OpenAI-Organization: o", "X-Client-Request-Id: r", "Idempotency-Key: i"] },
    { "openai-organization": "o", "x-client-request-id": "r", "idempotency-key": "i" },
  ],
  ["Authorization, replaced", { fields: ["Authorization: Bearer mine"] }],
  ["two Authorizations, replaced by one", { fields: ["Authorization: Bearer a", "authorization: Basic b"] }],
  ["Authorization named by Connection, still replaced", { fields: ["Connection: authorization"] }],
  [
    "Connection and what it names, dropped",
    { fields: ["Connection: close, X-Hop", "X-Hop: a", "X-Stays: b"] },
    { "x-stays": "b" },
  ],
  ["Connection twice", { fields: ["Connection: X-One", "Connection: X-Two", "X-One: a", "X-Two: b"] }],
  ["Connection naming what is not a field", { fields: ["Connection: , a b, é, keep-alive"] }],
  ["Connection naming Content-Length, which fetch sets anew", { fields: ["Connection: content-length"] }],
  ["Keep-Alive, dropped", { fields: ["Keep-Alive: timeout=5"] }],
  ["TE, dropped", { fields: ["TE: trailers"] }],
  ["Trailer, dropped", { fields: ["Trailer: X-T"] }],
  ["Upgrade, dropped", { fields: ["Upgrade: h2c", "Connection: Upgrade"] }],
  ["Proxy-Authorization, dropped", { fields: ["Proxy-Authorization: Basic a"] }],
  ["Proxy-Connection, dropped", { fields: ["Proxy-Connection: keep-alive"] }],
  [
    "no Via and no X-Forwarded-For but the client's",
    { fields: ["Via: 1.1 a", "X-Forwarded-For: b"] },
    { via: "1.1 a", "x-forwarded-for": "b" },
  ],
  ["fields of 60 kB", { fields: [`X-A: ${"a".repeat(60_000)}`] }, { "x-a": "a".repeat(60_000) }],
  ["Expect, answered here and passed on", { fields: ["Expect: 100-continue"] }, { expect: "100-continue" }],
];

describe("passes", () => {
  test.each(PASSING)("%s", async (_name, wire, upstreamGets = {}) => {
    const { answer, received } = await exchange(request(wire));
    expect(answer).toMatchObject({ status: 200, body: "ok" });
    expect(received).toHaveLength(1);
    expect(received[0]).toMatchObject({ first: "POST /v1/responses HTTP/1.1", body: "hi" });
    expect(asMap(received[0]!.fields)).toEqual(whole(upstreamGets));
  });

  test("a chunked body, whole", async () => {
    const head = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    const { answer, received } = await exchange(`${head}1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n`);
    expect(answer.status).toBe(200);
    expect(received.map(({ body }) => body)).toEqual(["hi"]);
  });

  test("no body at all", async () => {
    const { received } = await exchange("POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    expect(received.map(({ fields }) => asMap(fields))).toEqual([whole({ "content-length": "0" })]);
  });
});

type Refused = [name: string, request: Request, code: string];

const REFUSED: Refused[] = [
  ["a query", { line: "POST /v1/responses?a=b HTTP/1.1" }, "route_refused"],
  ["an empty query", { line: "POST /v1/responses? HTTP/1.1" }, "route_refused"],
  ["a fragment", { line: "POST /v1/responses# HTTP/1.1" }, "route_refused"],
  ["a slash at the end", { line: "POST /v1/responses/ HTTP/1.1" }, "route_refused"],
  ["a slash in front", { line: "POST //v1/responses HTTP/1.1" }, "route_refused"],
  ["a slash between", { line: "POST /v1//responses HTTP/1.1" }, "route_refused"],
  ["capitals", { line: "POST /V1/responses HTTP/1.1" }, "route_refused"],
  ["an encoded letter", { line: "POST /v1/%72esponses HTTP/1.1" }, "route_refused"],
  ["an encoded slash", { line: "POST /v1%2fresponses HTTP/1.1" }, "route_refused"],
  ["a dot segment", { line: "POST /v1/./responses HTTP/1.1" }, "route_refused"],
  ["a double dot segment", { line: "POST /v1/x/../responses HTTP/1.1" }, "route_refused"],
  ["an encoded double dot segment", { line: "POST /v1/x/%2e%2e/responses HTTP/1.1" }, "route_refused"],
  ["a backslash", { line: "POST /v1\\responses HTTP/1.1" }, "route_refused"],
  ["a parameter", { line: "POST /v1/responses;a HTTP/1.1" }, "route_refused"],
  ["a response by its id", { line: "POST /v1/responses/resp_1 HTTP/1.1" }, "route_refused"],
  ["another endpoint", { line: "POST /v1/chat/completions HTTP/1.1" }, "route_refused"],
  ["the root", { line: "POST / HTTP/1.1" }, "route_refused"],
  ["GET", { line: "GET /v1/responses HTTP/1.1" }, "route_refused"],
  ["PUT", { line: "PUT /v1/responses HTTP/1.1" }, "route_refused"],
  ["DELETE", { line: "DELETE /v1/responses HTTP/1.1" }, "route_refused"],
  [
    "OPTIONS, as a preflight",
    { line: "OPTIONS /v1/responses HTTP/1.1", fields: ["Access-Control-Request-Method: POST"] },
    "route_refused",
  ],
  ["TRACE", { line: "TRACE /v1/responses HTTP/1.1" }, "route_refused"],
  ["CONNECT", { line: "CONNECT 127.0.0.1:80 HTTP/1.1", body: "" }, "route_refused"],
  ["POST /shutdown", { line: "POST /shutdown HTTP/1.1" }, "route_refused"],
  ["GET /shutdown with a query", { line: "GET /shutdown?now HTTP/1.1" }, "route_refused"],
  [
    "GET /shutdown under a foreign name",
    { line: "GET /shutdown HTTP/1.1", host: "evil.test" },
    "host_refused",
  ],
  [
    "GET /shutdown from a page's <img>",
    { line: "GET /shutdown HTTP/1.1", fields: ["Sec-Fetch-Site: cross-site"] },
    "browser_refused",
  ],
  ["a foreign Host (DNS rebinding)", { host: "evil.test" }, "host_refused"],
  ["a foreign Host with the proxy's port", { host: "evil.test:8080" }, "host_refused"],
  ["a Host that begins like the proxy's", { host: "127.0.0.1.evil.test" }, "host_refused"],
  ["a Host that ends like the proxy's", { host: "evil-localhost" }, "host_refused"],
  ["user info in the Host", { host: "127.0.0.1@evil.test" }, "host_refused"],
  ["Host 0.0.0.0", { host: "0.0.0.0" }, "host_refused"],
  ["another loopback address", { host: "127.0.0.2" }, "host_refused"],
  ["a Host with a blank", { host: "a b" }, "host_refused"],
  ["an empty Host", { host: "" }, "host_refused"],
  ["two Hosts", { fields: ["Host: localhost"] }, "host_refused"],
  ["no Host (HTTP/1.0)", { line: "POST /v1/responses HTTP/1.0", host: null }, "host_refused"],
  [
    "the absolute form of another URL",
    { line: "POST http://evil.test/v1/responses HTTP/1.1", host: "evil.test" },
    "host_refused",
  ],
  ["Origin", { fields: ["Origin: https://evil.test"] }, "browser_refused"],
  ["Origin null", { fields: ["Origin: null"] }, "browser_refused"],
  ["the proxy's own Origin", { fields: ["Origin: http://127.0.0.1"] }, "browser_refused"],
  ["an empty Origin", { fields: ["Origin:"] }, "browser_refused"],
  ["Referer", { fields: ["Referer: http://127.0.0.1/"] }, "browser_refused"],
  ["an empty Referer", { fields: ["Referer:"] }, "browser_refused"],
  ["Sec-Fetch-Site: none, as of a typed URL", { fields: ["Sec-Fetch-Site: none"] }, "browser_refused"],
  ["Sec-Fetch-Dest", { fields: ["Sec-Fetch-Dest: empty"] }, "browser_refused"],
  ["Sec-Fetch-User", { fields: ["Sec-Fetch-User: ?1"] }, "browser_refused"],
  ["Sec-Fetch-Storage-Access", { fields: ["Sec-Fetch-Storage-Access: none"] }, "browser_refused"],
  ["Sec-Fetch-Mode: navigate", { fields: ["Sec-Fetch-Mode: navigate"] }, "browser_refused"],
  ["Sec-Fetch-Mode twice", { fields: ["Sec-Fetch-Mode: cors", "Sec-Fetch-Mode: cors"] }, "browser_refused"],
  ["a User-Agent of Firefox", { fields: ["User-Agent: Mozilla/5.0 (X11)"] }, "browser_refused"],
  ["a User-Agent of w3m", { fields: ["User-Agent: w3m/0.5.3+git20230121"] }, "browser_refused"],
  ["a User-Agent of NetSurf", { fields: ["User-Agent: NetSurf/3.10 (Linux)"] }, "browser_refused"],
  ["Sec-Fetch-Site: cross-site", { fields: ["Sec-Fetch-Site: cross-site"] }, "browser_refused"],
  ["Sec-Fetch-Site: same-origin", { fields: ["Sec-Fetch-Site: same-origin"] }, "browser_refused"],
  [
    "Sec-Fetch-Site twice",
    { fields: ["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"] },
    "browser_refused",
  ],
  ["two identical Content-Lengths", { fields: ["Content-Length: 2"] }, "length_refused"],
];

describe("is refused with 403 and the proxy's JSON, and the upstream gets nothing", () => {
  test.each(REFUSED)("%s", async (_name, wire, code) => {
    const { answer, received } = await exchange(request(wire));
    expect(received).toEqual([]);
    expect(answer.status).toBe(403);
    expect(answer.fields.map(([name]) => name)).not.toContainEqual(expect.stringMatching(/^access-control-/));
    const { error } = JSON.parse(answer.body);
    expect(error).toEqual({
      message: expect.stringContaining("only POST /v1/responses"),
      type: "proxy_error",
      param: null,
      code,
    });
  });

  test.each(["/responses", "/v1/v1/responses"])("a base URL that is wrong: POST %s", async (path) => {
    const { answer } = await exchange(request({ line: `POST ${path} HTTP/1.1` }));
    const isLikely = path === "/responses";
    expect(JSON.parse(answer.body).error.message.includes("the base URL must end in /v1")).toBe(isLikely);
  });

  const HANDSHAKE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
  ];
  const WEBSOCKETS: [name: string, request: Request, status: number][] = [
    ["from a program: 426", { line: "GET /v1/responses HTTP/1.1", fields: HANDSHAKE }, 426],
    ["from a page", { line: "GET /v1/responses HTTP/1.1", fields: [...HANDSHAKE, "Origin: http://a"] }, 403],
    ["to a foreign Host", { line: "GET /v1/responses HTTP/1.1", host: "a.test", fields: HANDSHAKE }, 403],
    ["with a query", { line: "GET /v1/responses?a HTTP/1.1", fields: HANDSHAKE }, 403],
    ["for another route", { line: "GET /v1/realtime HTTP/1.1", fields: HANDSHAKE }, 403],
    ["of another protocol", { line: "GET /v1/responses HTTP/1.1", fields: ["Upgrade: h2c"] }, 403],
  ];
  test.each(WEBSOCKETS)("a WebSocket %s", async (_name, wire, status) => {
    const { answer, received } = await exchange(request(wire));
    expect(received).toEqual([]);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.body).error.code === "websocket_refused").toBe(status === 426);
    // RFC 9110 §15.5.22: a 426 says which protocol it would be.
    expect(answer.fields.some(([name, value]) => name === "upgrade" && value === "HTTP/1.1")).toBe(
      status === 426,
    );
  });

  test("HEAD, whose answer has no body", async () => {
    const { answer, received } = await exchange(
      "HEAD /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    );
    expect(received).toEqual([]);
    expect(answer.raw).toStartWith("HTTP/1.1 403 ");
  });
});

const MALFORMED: [name: string, wire: string, answer: RegExp][] = [
  [
    "Content-Length and Transfer-Encoding",
    request({ fields: ["Transfer-Encoding: chunked"] }),
    /^HTTP\/1\.1 400 /,
  ],
  ["two different Content-Lengths", request({ fields: ["Content-Length: 3"] }), /^HTTP\/1\.1 400 /],
  ["a list of Content-Lengths", request({ fields: ["Content-Length: 2, 2"] }), /^HTTP\/1\.1 400 /],
  [
    "a signed Content-Length",
    "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\nhi",
    /^HTTP\/1\.1 400 /,
  ],
  [
    "an unknown Transfer-Encoding",
    "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    /^HTTP\/1\.1 400 /,
  ],
  [
    "chunked not last",
    "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    /^HTTP\/1\.1 400 /,
  ],
  ["a folded field (obs-fold)", request({ fields: ["X-A: 1\r\n 2"] }), /^HTTP\/1\.1 400 /],
  ["a blank before the colon", request({ fields: ["X-A : 1"] }), /^HTTP\/1\.1 400 /],
  ["a NUL in a value", request({ fields: ["X-A: \0"] }), /^HTTP\/1\.1 400 /],
  ["a bare CR in a value", request({ fields: ["X-A: 1\rX-B: 2"] }), /^HTTP\/1\.1 400 /],
  ["a bare LF between fields", request({ fields: ["X-A: 1\nX-B: 2"] }), /^HTTP\/1\.1 400 /],
  ["a field without a colon", request({ fields: ["X-A"] }), /^HTTP\/1\.1 400 /],
  ["no Host in HTTP/1.1", request({ host: null }), /^HTTP\/1\.1 400 /],
  [
    "another scheme in the absolute form",
    request({ line: "POST ftp://127.0.0.1/v1/responses HTTP/1.1" }),
    /^HTTP\/1\.1 400 /,
  ],
  ["HTTP/2.0 in the request line", request({ line: "POST /v1/responses HTTP/2.0" }), /^HTTP\/1\.1 505 /],
  // Host and Content-Length are two more.
  ["199 fields", request({ fields: Array<string>(197).fill("X-A: 1") }), /^HTTP\/1\.1 431 /],
  ["fields of more than 64 KiB", request({ fields: [`X-A: ${"a".repeat(66_000)}`] }), /^HTTP\/1\.1 431 /],
  ["a method in lower case", request({ line: "post /v1/responses HTTP/1.1" }), /^$/],
];

describe("is not HTTP that Bun's parser accepts, and the upstream gets nothing", () => {
  test.each(MALFORMED)("%s", async (_name, wire, answer) => {
    const result = await exchange(wire);
    expect(result.received).toEqual([]);
    expect(result.answer.raw).toMatch(answer);
    expect(result.answer.raw).not.toContain("<");
  });
});

test("after all of this the proxy still serves, and the key is not on its standard error", async () => {
  const { answer } = await exchange(request({}));
  expect(answer.status).toBe(200);
  const { exitCode, stdout, stderr } = await proxy.stop();
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "" });
  expect(stderr).not.toContain(CANARY_KEY.slice(0, 16));
});
