// `doctor` on its way to the upstream: each step that works with what was found, the first that does not with its reason; and no key.

import { beforeAll, describe, expect, test } from "bun:test";
import { connect, createServer, type Server } from "node:net";
import { createServer as createTlsServer } from "node:tls";

import { generate } from "selfsigned";

import { version } from "../../package.json";
import { type Authority, type Certificate, makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { type Connection, OK, RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

let authority: Authority;
let trusted: Record<string, string>;
beforeAll(async () => {
  authority = await makeAuthority();
  trusted = trust(authority, temporaryDirectory());
});

type Line = [id: string, status: string, found: string, advice: boolean];

/** What doctor says about the environment and the upstream, with milliseconds as N; and how it ended. */
async function look(url: string, env: Record<string, string> = {}, flags: string[] = []) {
  const { exitCode, stdout } = await runProgram({
    args: ["doctor", `--upstream-url=${url}`, "--json", ...flags],
    env,
  });
  const { checks, starts, reachesUpstream } = JSON.parse(stdout) as {
    starts: boolean;
    reachesUpstream: boolean;
    checks: { id: string; status: string; found: string; advice: string | null }[];
  };
  expect(starts).toBe(true);
  expect(exitCode).toBe(reachesUpstream ? 0 : 1);
  const ofUpstream = checks.slice(checks.findIndex(({ id }) => id === "dns"));
  const lines = ofUpstream.map(({ id, status, found, advice }): Line => {
    return [id, status, found.replace(/\d+ ms/, "N ms"), advice !== null];
  });
  return { exitCode, lines, checks, stdout };
}

async function listen(server: Server, host = "127.0.0.1"): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  atEnd(() => void server.close());
  return (server.address() as { port: number }).port;
}

const inADay = (): string => new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
const dated = (date: Date): string =>
  `HTTP/1.1 421 X\r\nDate: ${date.toUTCString()}\r\nContent-Length: 0\r\n\r\n`;

describe("an upstream that answers", () => {
  test("over TLS: every step, and what it was asked was HEAD / without a key", async () => {
    // Dated when it is given: on a busy machine it may be seconds until then.
    const answer = (connection: Connection): void => connection.write(dated(new Date()));
    const upstream = new RawUpstream({ tls: authority.server, answer });
    const { port } = upstream;
    const { lines } = await look(upstream.url, trusted);
    expect(lines).toEqual([
      ["dns", "ok", expect.stringMatching(/^localhost is (127\.0\.0\.1|::1)( and 1 more)?, N ms$/), false],
      ["tcp", "ok", `port ${port} of 127.0.0.1 answers, N ms`, false],
      ["tls", "ok", `TLSv1.3, N ms; certificate by throw-away CA until ${inADay()}`, false],
      ["http", "ok", "HEAD / is answered 421, N ms", false],
      ["clock", "ok", "as the upstream's", false],
    ]);
    expect(upstream.requests).toEqual([
      {
        first: "HEAD / HTTP/1.1",
        fields: [
          ["host", `localhost:${port}`],
          ["user-agent", `responses-api-proxy/${version}`],
          ["connection", "close"],
        ],
        body: "",
      },
    ]);
  });

  const SKEWS: [seconds: number, status: string, found: RegExp][] = [
    [-30, "ok", /^(2[7-9]|3[0-3]) s ahead of the upstream's$/],
    [-3600, "warning", /^3(59[7-9]|60[0-3]) s ahead of the upstream's$/],
    [3600, "warning", /^3(59[7-9]|60[0-3]) s behind the upstream's$/],
  ];
  test.each(SKEWS)("with a clock that is %p s off", async (seconds, status, found) => {
    const answer = (): string => dated(new Date(Date.now() + 1000 * seconds));
    const upstream = new RawUpstream({ answer: (connection) => connection.write(answer()) });
    const { lines } = await look(upstream.url);
    expect(lines.at(-1)).toEqual(["clock", status, expect.stringMatching(found), status === "warning"]);
  });

  test("over plain http, without a date", async () => {
    const upstream = new RawUpstream();
    const { lines } = await look(upstream.url);
    expect(lines.slice(2)).toEqual([
      ["tls", "ok", "plain http to 127.0.0.1: nothing is encrypted", false],
      ["http", "ok", "HEAD / is answered 200, N ms", false],
      ["clock", "ok", "the upstream's answer has no date to compare with", false],
    ]);
  });
});

describe("an upstream that cannot be reached: the step that failed is the last line, exit code 1", () => {
  const last = async (url: string, env?: Record<string, string>): Promise<unknown> =>
    (await look(url, env)).lines.at(-1);

  test("a name that nobody has", async () => {
    // Too long to be asked for, so nothing is asked.
    const name = `${"a".repeat(64)}.invalid`;
    expect(await last(`https://${name}/`)).toEqual([
      "dns",
      "fatal",
      expect.stringMatching(new RegExp(`^${name}: failed \\(\\w+\\)$`)),
      true,
    ]);
  });

  test("a port that nobody listens on", async () => {
    expect(await last("https://127.0.0.1:1/")).toEqual([
      "tcp",
      "fatal",
      "port 1: failed (ECONNREFUSED)",
      true,
    ]);
  });

  test("a certificate that nobody vouches for, that has expired, and that is another's", async () => {
    const refused = (cause: string, by: string) => [
      "tls",
      "fatal",
      `the certificate of localhost, by ${by}, is refused (${cause})`,
      true,
    ];
    const upstream = new RawUpstream({ tls: authority.server });
    expect(await last(upstream.url)).toEqual(refused("UNABLE_TO_VERIFY_LEAF_SIGNATURE", "throw-away CA"));
    // Which the environment of the proxy could not change either.
    expect(await last(upstream.url, { NODE_TLS_REJECT_UNAUTHORIZED: "0" })).toEqual(
      refused("UNABLE_TO_VERIFY_LEAF_SIGNATURE", "throw-away CA"),
    );
    const expired = await makeAuthority("localhost", { expired: true });
    const old = new RawUpstream({ tls: expired.server });
    expect(await last(old.url, trust(expired, temporaryDirectory()))).toEqual(
      refused("CERT_HAS_EXPIRED", "throw-away CA"),
    );
    const others = await makeAuthority("other.test");
    const other = new RawUpstream({ tls: others.server });
    expect(await last(other.url, trust(others, temporaryDirectory()))).toEqual(
      refused("ERR_TLS_CERT_ALTNAME_INVALID", "throw-away CA"),
    );
    const byAddress = createTlsServer(authority.server);
    const port = await listen(byAddress, "127.0.0.2");
    expect(await last(`https://127.0.0.2:${port}/`, trusted)).toEqual([
      "tls",
      "fatal",
      "the certificate of 127.0.0.2, by throw-away CA, is refused (ERR_TLS_CERT_ALTNAME_INVALID)",
      true,
    ]);
    for (const asked of [upstream, old, other]) expect(asked.requests).toEqual([]);
  });

  test("an issuer that would write on the terminal: escaped", async () => {
    const name = "a\x1b[31mb\x7f";
    const forged = await generate([{ name: "commonName", value: name }], { keyType: "ec" });
    const upstream = new RawUpstream({ tls: { key: forged.private, cert: forged.cert } });
    const { stdout } = await runProgram({ args: ["doctor", `--upstream-url=${upstream.url}`] });
    expect(stdout).toContain("by a\\u001b[31mb\\u007f");
    // oxlint-disable-next-line no-control-regex -- control characters are what this is about
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  });

  test("TLS that is not spoken, and an answer that is not HTTP", async () => {
    const port = await listen(createServer((socket) => void socket.on("error", () => {}).write(OK)));
    expect(await last(`https://127.0.0.1:${port}/`)).toEqual([
      "tls",
      "fatal",
      expect.stringMatching(/^failed \(\w+\)$/),
      true,
    ]);
    const strange = new RawUpstream({ answer: "220 smtp.test ESMTP\r\n\r\n" });
    expect(await last(strange.url)).toEqual(["http", "fatal", "failed (not HTTP/1.1)", true]);
    const gone = new RawUpstream({ answer: (connection) => connection.end() });
    expect(await last(gone.url)).toEqual(["http", "fatal", "failed (it closed the connection)", true]);
  });

  test("silence: given up after 5 s", async () => {
    const port = await listen(createServer(() => {}));
    const began = performance.now();
    const [http, tls] = await Promise.all([
      last(`http://127.0.0.1:${port}/`),
      last(`https://127.0.0.1:${port}/`),
    ]);
    expect(http).toEqual(["http", "fatal", "no answer in 5 s", true]);
    expect(tls).toEqual(["tls", "fatal", "no answer in 5 s", true]);
    expect(performance.now() - began).toBeLessThan(9000);
  }, 20_000);
});

describe("through HTTPS_PROXY, as the proxy's own requests go", () => {
  /** An HTTP proxy that leads every name to 127.0.0.1, and what it was asked. */
  async function startProxy(status = 200, certificate?: Certificate) {
    const asked: string[] = [];
    const serve = (socket: import("node:net").Socket): void => {
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

  test("each step, with the proxy's user and without its password in sight", async () => {
    const proxy = await startProxy();
    const { upstream, url, env } = await startUpstream();
    const variable = { HTTPS_PROXY: `http://me:s%40cret@127.0.0.1:${proxy.port}` };
    const { lines, stdout } = await look(url, { ...env, ...variable });
    expect(lines).toEqual([
      ["dns", "ok", "the proxy 127.0.0.1 is 127.0.0.1, N ms", false],
      ["tcp", "ok", `the proxy port ${proxy.port} of 127.0.0.1 answers, N ms`, false],
      ["tunnel", "ok", `the proxy connects to upstream.test:${upstream.port}, N ms`, false],
      ["tls", "ok", `TLSv1.3, N ms; certificate by throw-away CA until ${inADay()}`, false],
      ["http", "ok", "HEAD / is answered 200, N ms", false],
      ["clock", "ok", "the upstream's answer has no date to compare with", false],
    ]);
    expect(stdout).toContain(`HTTPS_PROXY=http://…@127.0.0.1:${proxy.port}`);
    expect(stdout).not.toMatch(/s(@|%40)cret/);
    const target = `upstream.test:${upstream.port}`;
    const asking = `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Basic ${btoa("me:s@cret")}\r\n\r\n`;
    expect(proxy.asked).toEqual([asking]);

    // The same way that an exchange goes.
    const real = await Proxy.start({ args: [`--upstream-url=${url}`], env: { ...env, ...variable } });
    expect((await roundTrip(real.port, REQUEST)).status).toBe(200);
    expect(proxy.asked[1]).toStartWith(`CONNECT ${target} HTTP/1.1\r\n`);
  });

  test("that itself is spoken to in TLS", async () => {
    const { url, env, certificate } = await startUpstream();
    const proxy = await startProxy(200, certificate);
    const { lines } = await look(url, { ...env, https_proxy: `https://127.0.0.1:${proxy.port}` });
    expect(lines).toContainEqual(["http", "ok", "HEAD / is answered 200, N ms", false]);
    expect(proxy.asked).toHaveLength(1);
  });

  test("that refuses: its answer", async () => {
    const proxy = await startProxy(407);
    const { upstream, url, env } = await startUpstream();
    const { lines } = await look(url, { ...env, HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` });
    expect(lines.at(-1)).toEqual([
      "tunnel",
      "fatal",
      `the proxy answered 407 to CONNECT upstream.test:${upstream.port}`,
      true,
    ]);
  });

  test("an address behind it: its certificate must name that address, not the proxy's", async () => {
    const proxy = await startProxy();
    const { upstream, env } = await startUpstream();
    const variable = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
    const { lines } = await look(`https://192.0.2.1:${upstream.port}/`, { ...env, ...variable });
    expect(lines.at(-1)).toEqual([
      "tls",
      "fatal",
      "the certificate of 192.0.2.1, by throw-away CA, is refused (ERR_TLS_CERT_ALTNAME_INVALID)",
      true,
    ]);
  });

  test("not to loopback, and not where NO_PROXY says so", async () => {
    const proxy = await startProxy();
    const variable = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
    const upstream = new RawUpstream({ tls: authority.server });
    expect((await look(upstream.url, { ...trusted, ...variable })).exitCode).toBe(0);
    // Too long a name to be asked for, so nothing is asked.
    const name = `${"a".repeat(64)}.invalid`;
    for (const NO_PROXY of ["*", "a.test, invalid", ".invalid", "*.INVALID b.test", `${name}:443`]) {
      const straight = await look(`https://${name}/`, { ...variable, NO_PROXY });
      expect(straight.lines[0]!.slice(0, 2), NO_PROXY).toEqual(["dns", "fatal"]);
    }
    expect(proxy.asked).toEqual([]);
    for (const NO_PROXY of ["nvalid", `${name}:444`, "*.b.invalid", "."]) {
      await look(`https://${name}/`, { ...variable, NO_PROXY });
      expect(proxy.asked.splice(0), NO_PROXY).toHaveLength(1);
    }
  });
});
