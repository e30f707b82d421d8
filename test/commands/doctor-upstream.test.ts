// `doctor` on its way to the upstream: one HEAD, without a key and with the settings of the proxy's own requests; and what keeps it from an
// answer, in the proxy's words.

import { beforeAll, describe, expect, test } from "bun:test";
import { connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";

import { version } from "../../package.json";
import { type Authority, type Certificate, makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { type Report } from "../harness/hosts.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { OK, RawUpstream, type Received } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

type Environment = Record<string, string>;

let authority: Authority;
let trusted: Environment;
beforeAll(async () => {
  authority = await makeAuthority();
  trusted = trust(authority, temporaryDirectory());
});

/** What doctor says of the upstream, the milliseconds as N; the start itself must be fine. */
async function ask(url: string, env: Environment = {}) {
  const { exitCode, stdout, stderr } = await runProgram({
    args: ["doctor", `--upstream-url=${url}`, "--json"],
    env,
  });
  const { checks, starts, reachesUpstream } = JSON.parse(stdout) as Report;
  expect({ starts, stderr }).toEqual({ starts: true, stderr: "" });
  expect(exitCode).toBe(reachesUpstream ? 0 : 1);
  const { id, status, found, advice } = checks.at(-1)!;
  expect({ id, status }).toEqual({ id: "upstream", status: reachesUpstream ? "ok" : "fatal" });
  return { reachesUpstream, found: found.replace(/\d+ ms$/, "N ms"), advice: advice ?? "", stdout };
}

/** Expects that the upstream is not reached, and returns why. */
async function whyNot(url: string, env: Environment = {}): Promise<string> {
  const { reachesUpstream, found } = await ask(url, env);
  expect(reachesUpstream).toBe(false);
  return found;
}

async function listen(server: Server, host = "127.0.0.1"): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  atEnd(() => void server.close());
  return (server.address() as { port: number }).port;
}

/** The one request, whole. */
const head = (target: string, host: string): Received => ({
  first: `HEAD ${target} HTTP/1.1`,
  fields: [
    ["user-agent", `responses-api-proxy/${version}`],
    ["connection", "keep-alive"],
    ["accept", "*/*"],
    ["host", host],
  ],
  body: "",
});

describe("an upstream that answers", () => {
  test("over TLS, at the path and with the query of --upstream-url: one HEAD without a key", async () => {
    const upstream = new RawUpstream({ tls: authority.server });
    const { reachesUpstream, found, stdout } = await ask(`${upstream.url}?version=7`, trusted);
    expect(reachesUpstream).toBe(true);
    expect(found).toBe(`${upstream.url} answers HEAD with 200, N ms`);
    expect(stdout).not.toContain("version=7");
    expect(upstream.requests).toEqual([head("/v1/responses?version=7", `localhost:${upstream.port}`)]);
    expect(upstream.connections).toBe(1);
  });

  test.each([401, 403, 500])("over plain http, with %d: it is there", async (status) => {
    const upstream = new RawUpstream({ answer: `HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n` });
    const { reachesUpstream, found } = await ask(upstream.url);
    expect(reachesUpstream).toBe(true);
    expect(found).toBe(`${upstream.url} answers HEAD with ${status}, N ms`);
    expect(upstream.requests).toEqual([head("/v1/responses", `127.0.0.1:${upstream.port}`)]);
  });

  test("with a redirect, which is not followed", async () => {
    const other = new RawUpstream();
    const answer = `HTTP/1.1 307 X\r\nLocation: ${other.url}\r\nContent-Length: 0\r\n\r\n`;
    const upstream = new RawUpstream({ answer });
    expect((await ask(upstream.url)).found).toBe(`${upstream.url} answers HEAD with 307, N ms`);
    expect(upstream.requests).toHaveLength(1);
    expect(other.connections).toBe(0);
  });
});

describe("an upstream that cannot be reached", () => {
  /** What a client of the proxy hears that has the same upstream and environment, without what became of the request. */
  async function saidByProxy(url: string, env: Environment): Promise<string> {
    const proxy = await Proxy.start({ args: [`--upstream-url=${url}`], env });
    const { status, body } = await roundTrip(proxy.port, REQUEST);
    expect(status).toBe(502);
    return JSON.parse(body).error.message.replace(/;.*$/s, "");
  }

  async function expectSame(url: string, words: string, advice: RegExp, env: Environment = {}) {
    const asked = await ask(url, env);
    expect(asked).toMatchObject({ reachesUpstream: false, found: words });
    expect(asked.advice).toMatch(advice);
    expect(await saidByProxy(url, env)).toBe(words);
  }

  const REFUSED = "the upstream's certificate was refused";

  test("because nobody vouches for its certificate", async () => {
    const upstream = new RawUpstream({ tls: authority.server });
    const words = `${REFUSED} (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`;
    await expectSame(upstream.url, words, /NODE_EXTRA_CA_CERTS must name its authority$/);
    // Which the environment could not change either.
    expect(await whyNot(upstream.url, { NODE_TLS_REJECT_UNAUTHORIZED: "0" })).toBe(words);
    expect(upstream.requests).toEqual([]);
  });

  test("because its certificate has expired, or is another's", async () => {
    const expired = await makeAuthority("localhost", { expired: true });
    const old = new RawUpstream({ tls: expired.server });
    const ofOld = trust(expired, temporaryDirectory());
    expect(await whyNot(old.url, ofOld)).toBe(`${REFUSED} (CERT_HAS_EXPIRED)`);
    const others = await makeAuthority("other.test");
    const other = new RawUpstream({ tls: others.server });
    const ofOther = trust(others, temporaryDirectory());
    expect(await whyNot(other.url, ofOther)).toBe(`${REFUSED} (ERR_TLS_CERT_ALTNAME_INVALID)`);
    const port = await listen(createTlsServer(authority.server), "127.0.0.2");
    const byAddress = await whyNot(`https://127.0.0.2:${port}/v1/responses`, trusted);
    expect(byAddress).toBe(`${REFUSED} (ERR_TLS_CERT_ALTNAME_INVALID)`);
    for (const asked of [old, other]) expect(asked.requests).toEqual([]);
  });

  test("because nobody listens on its port", async () => {
    const words = "the upstream could not be reached (ECONNREFUSED)";
    await expectSame("https://127.0.0.1:1/v1/responses", words, /host and port of --upstream-url/);
  });

  test("because nobody has its name", async () => {
    // Too long to be asked for, so nothing is asked.
    const name = `${"a".repeat(64)}.invalid`;
    const words = "the upstream's name could not be resolved (ENOTFOUND)";
    await expectSame(`https://${name}/v1/responses`, words, /\/etc\/resolv\.conf/);
  });

  test("because it does not speak TLS, or not HTTP, or hangs up", async () => {
    const port = await listen(createServer((socket) => void socket.on("error", () => {}).write(OK)));
    const { found, advice } = await ask(`https://127.0.0.1:${port}/v1/responses`);
    expect(found).toBe("the TLS connection to the upstream failed (EPROTO)");
    expect(advice).toBe("see whether TLS 1.2 or 1.3 is spoken at that port");
    const strange = new RawUpstream({ answer: "220 smtp.test ESMTP\r\n\r\n" });
    expect(await whyNot(strange.url)).toBe(
      "the upstream's answer could not be read (Malformed_HTTP_Response)",
    );
    const gone = new RawUpstream({ answer: (connection) => connection.end() });
    expect(await whyNot(gone.url)).toBe(
      "the upstream broke off before its answer could be passed on (ECONNRESET)",
    );
  });

  test("because it is silent: given up after 5 s, whether it should speak TLS or HTTP, and not after 2", async () => {
    const port = await listen(createServer(() => {}));
    const slow = new RawUpstream({ answer: ({ write }) => void setTimeout(() => write(OK), 2000) });
    const urls = [`http://127.0.0.1:${port}/`, `https://127.0.0.1:${port}/`, slow.url];
    const [http, https, late] = await Promise.all(urls.map((url) => ask(url)));
    for (const asked of [http, https])
      expect(asked).toMatchObject({
        reachesUpstream: false,
        found: "no answer within 5 s",
        advice: expect.stringMatching(/^a firewall may drop what is sent there/),
      });
    expect(late).toMatchObject({ reachesUpstream: true, found: `${slow.url} answers HEAD with 200, N ms` });
  });
});

describe("through HTTPS_PROXY, as the proxy's own requests go", () => {
  /** An HTTP proxy that leads every name to 127.0.0.1, and what it was asked. */
  async function startProxy(status = 200, certificate?: Certificate) {
    const asked: string[] = [];
    const serve = (socket: Socket): void => {
      socket.on("error", () => {});
      socket.once("data", (bytes) => {
        asked.push(bytes.toString());
        if (status !== 200) return void socket.end(`HTTP/1.1 ${status} X\r\n\r\n`);
        const port = Number(/^CONNECT \S+:(\d+)/.exec(bytes.toString())![1]);
        const upstream = connect(port, "127.0.0.1", () => {
          socket.write("HTTP/1.1 200 OK\r\n\r\n");
          socket.pipe(upstream).pipe(socket);
        });
        upstream.on("error", () => socket.destroy());
      });
    };
    const server = certificate === undefined ? createServer(serve) : createTlsServer(certificate, serve);
    return { port: await listen(server as Server), asked };
  }

  async function startUpstream() {
    const other = await makeAuthority("upstream.test");
    const upstream = new RawUpstream({ tls: other.server });
    const url = `https://upstream.test:${upstream.port}/v1/responses`;
    return { upstream, url, env: trust(other, temporaryDirectory()), certificate: other.server };
  }

  test("it is given the variable's user and password, which are shown nowhere", async () => {
    const { port, asked } = await startProxy();
    const { upstream, url, env } = await startUpstream();
    const variable = { HTTPS_PROXY: `http://me:s%40cret@127.0.0.1:${port}` };
    const { found, stdout } = await ask(url, { ...env, ...variable });
    expect(found).toBe(`${url} answers HEAD with 200, N ms`);
    expect(upstream.requests).toEqual([head("/v1/responses", `upstream.test:${upstream.port}`)]);
    expect(stdout).toContain(`HTTPS_PROXY=http://…@127.0.0.1:${port}`);
    expect(stdout).not.toMatch(/s(@|%40)cret/);
    expect(stdout).not.toContain(btoa("me:s@cret"));
    expect(asked).toHaveLength(1);
    expect(asked[0]).toStartWith(`CONNECT upstream.test:${upstream.port} HTTP/1.1\r\n`);
    expect(asked[0]).toContain(`\r\nProxy-Authorization: Basic ${btoa("me:s@cret")}\r\n`);

    // An exchange goes the same way.
    const real = await Proxy.start({ args: [`--upstream-url=${url}`], env: { ...env, ...variable } });
    expect((await roundTrip(real.port, REQUEST)).status).toBe(200);
    expect(asked).toEqual([asked[0]!, asked[0]!]);
  });

  test("it may itself speak TLS", async () => {
    const { url, env, certificate } = await startUpstream();
    const { port, asked } = await startProxy(200, certificate);
    const https_proxy = `https://127.0.0.1:${port}`;
    expect((await ask(url, { ...env, https_proxy })).found).toBe(`${url} answers HEAD with 200, N ms`);
    expect(asked).toHaveLength(1);
  });

  test("it refuses: so it is said", async () => {
    const { port } = await startProxy(407);
    const { upstream, url, env } = await startUpstream();
    const found = await whyNot(url, { ...env, HTTPS_PROXY: `http://127.0.0.1:${port}` });
    expect(found).toMatch(
      /^the proxy that HTTPS_PROXY names does not connect to the upstream \(ERR_PROXY_\w+\)$/,
    );
    expect(upstream.connections).toBe(0);
  });

  test("the certificate of an address behind it must name that address", async () => {
    const { port, asked } = await startProxy();
    const { upstream, env } = await startUpstream();
    const url = `https://192.0.2.1:${upstream.port}/v1/responses`;
    const found = await whyNot(url, { ...env, HTTPS_PROXY: `http://127.0.0.1:${port}` });
    expect(found).toBe("the upstream's certificate was refused (ERR_TLS_CERT_ALTNAME_INVALID)");
    expect(asked).toHaveLength(1);
    expect(upstream.requests).toEqual([]);
  });

  test("loopback goes straight, and so does what NO_PROXY names", async () => {
    const { port, asked } = await startProxy();
    const variable = { HTTPS_PROXY: `http://127.0.0.1:${port}` };
    const upstream = new RawUpstream({ tls: authority.server });
    expect((await ask(upstream.url, { ...trusted, ...variable })).reachesUpstream).toBe(true);
    const { url, env } = await startUpstream();
    for (const NO_PROXY of ["*", "a.test, upstream.test", ".test"])
      // There is no such name without the proxy.
      expect(await whyNot(url, { ...env, ...variable, NO_PROXY }), NO_PROXY).toMatch(
        /\((ENOTFOUND|EAI_AGAIN)\)$/,
      );
    expect(asked).toEqual([]);
    expect((await ask(url, { ...env, ...variable, NO_PROXY: "other.test" })).reachesUpstream).toBe(true);
    expect(asked).toHaveLength(1);
  });
});
