// The client gets the upstream's answer with its status, end-to-end fields and bytes, or the proxy's own error.

import { beforeAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";

import { failedExchange } from "../../src/proxy/failures.ts";
import { Journal } from "../../src/report/journal.ts";
import { makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();
let proxy: Proxy;

beforeAll(async () => {
  proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}?api-version=1`] });
});

/** The answer's fields without Date, which changes. */
function fieldsOf({ fields }: { fields: [string, string][] }): string[] {
  return fields.filter(([name]) => name !== "date").map(([name, value]) => `${name}: ${value}`);
}

async function through(lines: string[], body: string) {
  upstream.answer = `${lines.join("\r\n")}\r\n\r\n${body}`;
  return roundTrip(proxy.port, REQUEST);
}

type Mirrored = [
  name: string,
  lines: string[],
  body: string,
  status: number,
  fields: string[],
  sent?: string,
];

const OCTETS = "content-type: application/octet-stream";

const MIRRORED: Mirrored[] = [
  [
    "a plain answer",
    ["HTTP/1.1 200 OK", "Content-Type: a/b", "Content-Length: 2"],
    "ok",
    200,
    ["content-type: a/b", "content-length: 2"],
  ],
  [
    "two Set-Cookie",
    ["HTTP/1.1 200 OK", "Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Type: a/b", "Content-Length: 0"],
    "",
    200,
    ["content-type: a/b", "set-cookie: a=1", "set-cookie: b=2", "content-length: 0"],
  ],
  [
    "encoded bytes",
    ["HTTP/1.1 200 OK", "Content-Encoding: gzip", "Content-Type: a/b", "Content-Length: 5"],
    "\x1f\x8b\x00\xff!",
    200,
    ["content-encoding: gzip", "content-type: a/b", "content-length: 5"],
  ],
  [
    "hop-by-hop fields, dropped",
    [
      "HTTP/1.1 200 OK",
      "Connection: keep-alive, X-Hop",
      "X-Hop: a",
      "Keep-Alive: timeout=5",
      "Proxy-Authenticate: Basic",
      "Trailer: X-T",
      "Upgrade: h2c",
      "X-Stays: b",
      "Content-Type: a/b",
      "Content-Length: 2",
    ],
    "ok",
    200,
    ["content-type: a/b", "x-stays: b", "content-length: 2"],
  ],
  [
    "fields for web pages, dropped",
    [
      "HTTP/1.1 200 OK",
      "Access-Control-Allow-Origin: *",
      "Access-Control-Expose-Headers: X-Request-ID",
      "X-Request-ID: r",
      "Content-Type: a/b",
      "Content-Length: 2",
    ],
    "ok",
    200,
    ["content-type: a/b", "x-request-id: r", "content-length: 2"],
  ],
  [
    "a redirect, passed on and not followed",
    ["HTTP/1.1 307 Temporary Redirect", "Location: https://elsewhere.test/", "Content-Length: 0"],
    "",
    307,
    ["location: https://elsewhere.test/", "content-length: 0"],
  ],
  [
    "429 with its fields",
    [
      "HTTP/1.1 429 Too Many Requests",
      "Retry-After: 7",
      "x-ratelimit-remaining-tokens: 0",
      "Content-Type: application/json",
      "Content-Length: 2",
    ],
    "{}",
    429,
    [
      "retry-after: 7",
      "content-type: application/json",
      "x-ratelimit-remaining-tokens: 0",
      "content-length: 2",
    ],
  ],
  [
    "401 with its challenge",
    ["HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Bearer", "Content-Type: a/b", "Content-Length: 2"],
    "no",
    401,
    ["www-authenticate: Bearer", "content-type: a/b", "content-length: 2"],
  ],
  ["204", ["HTTP/1.1 204 No Content", "X-A: 1"], "", 204, ["x-a: 1"]],
  [
    "304 with the length of what is not sent",
    ["HTTP/1.1 304 Not Modified", 'ETag: "x"'],
    "",
    304,
    ['etag: "x"'],
  ],
  [
    "an unknown status",
    ["HTTP/1.1 599 Odd", "Content-Type: a/b", "Content-Length: 2"],
    "ok",
    599,
    ["content-type: a/b", "content-length: 2"],
  ],
  [
    "bytes above 0x7f in a value",
    ["HTTP/1.1 200 OK", "X-Bytes: \xe9\xff", "Content-Type: a/b", "Content-Length: 2"],
    "ok",
    200,
    ["content-type: a/b", "x-bytes: \xe9\xff", "content-length: 2"],
  ],
  [
    "a body without Content-Type, which Bun names",
    ["HTTP/1.1 200 OK", "Content-Length: 2"],
    "ok",
    200,
    [OCTETS, "content-length: 2"],
  ],
  [
    "1xx answers before the real one",
    [
      "HTTP/1.1 100 Continue",
      "",
      "HTTP/1.1 103 Early Hints",
      "Link: </a>",
      "",
      "HTTP/1.1 200 OK",
      "Content-Type: a/b",
      "Content-Length: 2",
    ],
    "ok",
    200,
    ["content-type: a/b", "content-length: 2"],
  ],
];

describe("mirrored", () => {
  test.each(MIRRORED)("%s", async (_name, lines, body, status, fields) => {
    const answer = await through(lines, body);
    expect({ status: answer.status, fields: fieldsOf(answer).sort(), body: answer.body }).toEqual({
      status,
      fields: fields.sort(),
      body,
    });
  });

  test("a chunked body", async () => {
    const answer = await through(
      ["HTTP/1.1 200 OK", "Content-Type: a/b", "Transfer-Encoding: chunked"],
      "1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    );
    expect({ status: answer.status, body: answer.body }).toEqual({ status: 200, body: "ok" });
  });

  test("the query of --upstream-url goes up, and no query of a client's", async () => {
    await through(["HTTP/1.1 204 No Content"], "");
    expect(upstream.requests.at(-1)!.first).toBe("POST /v1/responses?api-version=1 HTTP/1.1");
  });
});

type Failure = { status: number; code: string; cause: RegExp };

/** Expects the proxy's own answer, and one line on standard error. */
async function expectFailure(failing: Proxy, { status, code, cause }: Failure): Promise<void> {
  const answer = await roundTrip(failing.port, REQUEST);
  expect(answer.status).toBe(status);
  expect(fieldsOf(answer)[0]).toBe("content-type: application/json");
  const { error } = JSON.parse(answer.body);
  expect(error).toEqual({ message: expect.stringMatching(cause), type: "proxy_error", param: null, code });
  await failing.waitForLine(/exchange failed/);
  const lines = failing.stderr.split("\n").filter((line) => /fail|error/i.test(line));
  // Faults that the operator can examine with doctor get a hint.
  const more = /unreachable|certificate|tls/.test(code) ? " (responses-api-proxy doctor says more)" : "";
  expect(lines).toEqual([`responses-api-proxy: error: exchange failed: ${error.message}${more}`]);
  expect(answer.raw + failing.stderr).not.toContain(CANARY_KEY.slice(0, 16));
}

describe("if the upstream gives no answer that can be passed on", () => {
  test("nothing listens there", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    const { port } = gone.address() as { port: number };
    await new Promise((resolve) => gone.close(resolve));
    const failing = await Proxy.start({ args: [`--upstream-url=http://127.0.0.1:${port}/`] });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_unreachable",
      cause: /ECONNREFUSED.*nothing was sent/,
    });
  });

  test("its name does not resolve", async () => {
    const failing = await Proxy.start({ args: ["--upstream-url=https://nowhere.invalid/v1/responses"] });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_unreachable",
      cause: /name could not be resolved/,
    });
  });

  test("it closes without sending a byte", async () => {
    const silent = new RawUpstream({ answer: (connection) => connection.end() });
    const failing = await Proxy.start({ args: [`--upstream-url=${silent.url}`] });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_broke_off",
      cause: /ECONNRESET.*may have reached it/,
    });
    expect(silent.requests).toHaveLength(1);
  });

  test("it speaks another protocol", async () => {
    const other = new RawUpstream({ answer: "SSH-2.0-OpenSSH_9.9\r\n\r\n" });
    const failing = await Proxy.start({ args: [`--upstream-url=${other.url}`] });
    await expectFailure(failing, { status: 502, code: "upstream_unreadable", cause: /could not be read/ });
  });

  test("it switches protocols", async () => {
    const switching = new RawUpstream({
      answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    });
    const failing = await Proxy.start({ args: [`--upstream-url=${switching.url}`] });
    await expectFailure(failing, { status: 502, code: "upstream_unreadable", cause: /UnrequestedUpgrade/ });
  });
});

describe("an answer that is not HTTP is the upstream's fault", () => {
  const HOSTILE: [what: string, answer: string, code: string][] = [
    [
      "a Content-Length that is not a number",
      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
      "upstream_unreadable",
    ],
    ["a negative Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "upstream_unreadable"],
    [
      "two Content-Lengths",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
      "upstream_unreadable",
    ],
    ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\nok", "upstream_unreadable"],
    [
      "chunks that are not the last coding",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
      "upstream_unreadable",
    ],
    ["status 000", "HTTP/1.1 000 No\r\nContent-Length: 2\r\n\r\nok", "upstream_unreadable"],
    ["status 099", "HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok", "upstream_unreadable"],
  ];
  describe.each([[], ["--log-level=debug"]])("%j", (...flags: string[]) => {
    test.each(HOSTILE)("%s", async (_what, answer, code) => {
      const hostile = new RawUpstream({ answer });
      const failing = await Proxy.start({ args: [`--upstream-url=${hostile.url}`, ...flags] });
      const { status, body } = await roundTrip(failing.port, REQUEST);
      expect({ status, code: JSON.parse(body).error.code }).toEqual({ status: 502, code });
      expect(hostile.requests).toHaveLength(1);
    });
  });

  test("plain HTTP to a TLS upstream", async () => {
    const answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    const plain = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.end(answer) },
    });
    atEnd(() => plain.stop(true));
    const failing = await Proxy.start({
      args: [`--upstream-url=https://127.0.0.1:${plain.port}/v1/responses`],
    });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_tls",
      cause: /TLS connection .* failed \(EPROTO\)/,
    });
  });
});

describe("if the end of its answer could not be told from a break", () => {
  const UNCERTAIN: [name: string, head: string][] = [
    ["neither a length nor chunks", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n"],
    ["Transfer-Encoding: identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"],
    ["Transfer-Encoding: gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
    ["an empty Transfer-Encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n"],
    ["HTTP/1.0 without a length", "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\n"],
  ];
  test.each(UNCERTAIN)("%s", async (_name, head) => {
    // Refused because of its head, before the answer ends in any way.
    const uncertain = new RawUpstream({ answer: (connection) => connection.write(`${head}partial`) });
    const failing = await Proxy.start({ args: [`--upstream-url=${uncertain.url}`] });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_unreadable",
      cause: /neither a length nor chunks/,
    });
  });
});

describe("if its certificate is refused, no byte of a request is sent", () => {
  const cases: [string, { trusted: boolean; host?: string; expired?: boolean }][] = [
    ["an untrusted authority", { trusted: false }],
    ["another name", { trusted: true, host: "elsewhere.test" }],
    ["an expired certificate", { trusted: true, expired: true }],
  ];
  test.each(cases)("%s", async (_name, { trusted, host, expired = false }) => {
    const authority = await makeAuthority(host, { expired });
    const secure = new RawUpstream({ tls: authority.server });
    const env = trusted ? trust(authority, temporaryDirectory()) : {};
    const failing = await Proxy.start({ args: [`--upstream-url=${secure.url}`], env });
    await expectFailure(failing, {
      status: 502,
      code: "upstream_certificate",
      cause: /certificate was refused \(\w+\); nothing was sent/,
    });
    expect(secure.requests).toEqual([]);
    expect(secure.bytesReceived).toBe(0);
  });

  test("the neighbour: a trusted authority", async () => {
    const authority = await makeAuthority();
    const secure = new RawUpstream({ tls: authority.server });
    const trusting = await Proxy.start({
      args: [`--upstream-url=${secure.url}`],
      env: trust(authority, temporaryDirectory()),
    });
    expect((await roundTrip(trusting.port, REQUEST)).status).toBe(200);
    expect(secure.requests).toHaveLength(1);
  });
});

test("a bug in the proxy: 500, and its message stays inside", async () => {
  const named = Object.assign(new Error(), { code: "ECONNRESET" });
  expect(failedExchange(named, new Journal()).status).toBe(500);
  const answer = failedExchange(new TypeError(`undefined is not ${CANARY_KEY}`), new Journal());
  expect(answer.status).toBe(500);
  const { error } = (await answer.json()) as { error: object };
  const message = "internal error (TypeError), details withheld";
  expect(error).toEqual({ message, type: "proxy_error", param: null, code: "internal_error" });
});
