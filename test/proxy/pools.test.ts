// More than 64 upstream connections are kept over TLS: each 64 requests in flight get a pool of their own, and the pools differ in nothing that
// the upstream sees or that decides which upstream is accepted.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { MAX_POOLS, PoolRule, poolsFor } from "../../src/proxy/pools.ts";
import { makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { startHttpProxy } from "../harness/http-proxy.ts";
import { OidcHosts } from "../harness/oidc-hosts.ts";
import { CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { type Connection, OK, RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

describe("which pool", () => {
  /** Returns the pools of `count` requests that are sent one after the other, beside `others`; the answers begin if `begin` is set. */
  function send(rule: PoolRule, count: number, others: number, { begin = false } = {}): number[] {
    const pools = Array.from({ length: count }, (_, index) => rule.choose(others + index));
    if (begin) pools.forEach((pool) => rule.answered(pool));
    return pools;
  }
  const filling = (count: number): number[] => Array.from({ length: count }, (_, n) => Math.floor(n / 64));

  test("the first up to 64 in flight, and one more for each 64", () => {
    expect(send(new PoolRule(60), 64, 0)).toEqual(filling(64));
    expect(send(new PoolRule(60), 300, 0)).toEqual(filling(300));
    expect(send(new PoolRule(60), 60 * 64, 0)).toEqual(filling(60 * 64));
  });

  test("the last, if there are no more", () => {
    expect(new Set(send(new PoolRule(3), 1000, 0).slice(128))).toEqual(new Set([2]));
    expect(new Set(send(new PoolRule(1), 1000, 0))).toEqual(new Set([0]));
  });

  test("the same again, once all have ended", () => {
    const rule = new PoolRule(60);
    for (let wave = 0; wave < 3; wave++) expect(send(rule, 300, 0, { begin: true })).toEqual(filling(300));
  });

  test("answers that go on keep their places", () => {
    const rule = new PoolRule(60);
    send(rule, 100, 0, { begin: true });
    expect(send(rule, 100, 100)).toEqual(filling(200).slice(100));
  });

  test("a request without an answer keeps its place, whatever has ended", () => {
    const rule = new PoolRule(60);
    send(rule, 64, 0);
    send(rule, 64, 64, { begin: true });
    // All of the second pool's have ended, and none of the first one's can have.
    expect(send(rule, 65, 64)).toEqual(filling(129).slice(64));
  });

  test("one by one: the first, however many there were", () => {
    const rule = new PoolRule(60);
    send(rule, 1000, 0, { begin: true });
    for (let n = 0; n < 1000; n++) expect(send(rule, 1, 0, { begin: true })).toEqual([0]);
  });

  test("at a steady load of 1,000 no pool is given more than it takes, and no more pools than it takes", () => {
    const rule = new PoolRule(60);
    const waiting = send(rule, 1000, 0);
    for (let n = 0; n < 20_000; n++) {
      rule.answered(waiting.splice((n * 7919) % waiting.length, 1)[0]!);
      waiting.push(rule.choose(999));
    }
    const loads = Array.from({ length: 17 }, (_, pool) => waiting.filter((each) => each === pool).length);
    expect(Math.max(...loads)).toBeLessThanOrEqual(64);
    expect(loads.reduce((total, load) => total + load, 0)).toBe(1000);
  });

  const WHERE: [url: string, variable: string, pools: number][] = [
    ["https://api.openai.com/v1/responses", "NO_PROXY", 60],
    ["https://127.0.0.1/v1/responses", "HTTPS_PROXY", 60],
    ["https://api.openai.com/v1/responses", "HTTPS_PROXY", 1],
    ["https://api.openai.com/v1/responses", "https_proxy", 1],
    ["http://127.0.0.1/v1/responses", "NO_PROXY", 1],
  ];
  test.each(WHERE)("to %s with %s: of %d", (url, variable, pools) => {
    expect(poolsFor(new URL(url), { [variable]: "http://proxy.example:3128" })).toBe(pools);
  });
});

const POOLS = `${import.meta.dir}/../harness/pools.ts`;

/** Returns what harness/pools.ts prints for each pool. */
async function askOverPools(urls: string[], env: Record<string, string>): Promise<string[][]> {
  const { stdout } = await runProgram({ binary: process.execPath, args: [POOLS, ...urls], env, seconds: 60 });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("the pools are the same", () => {
  test("for the upstream: each sends the same ClientHello", async () => {
    const hellos: Buffer[] = [];
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket, bytes) {
          hellos.push(Buffer.from(bytes));
          socket.end();
        },
      },
    });
    atEnd(() => listener.stop(true));
    await askOverPools([`https://localhost:${listener.port}/`], {});
    expect(hellos.length).toBe(MAX_POOLS);
    expect(new Set(hellos.map(withoutRandom)).size).toBe(1);
    // What is compared has the rest in it: the versions, the ciphers and the name.
    const hello = withoutRandom(hellos[0]!);
    for (const bytes of ["localhost", "\x13\x01\x13\x02\x13\x03", "\x00\x2b\x00\x05\x04\x03\x04\x03\x03"])
      expect(hello).toContain(bytes);
  });

  test.each(["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"])("in what they accept, with %s", async (variable) => {
    const [good, expired, otherName, unknown] = await Promise.all([
      makeAuthority(),
      makeAuthority("localhost", { expired: true }),
      makeAuthority("elsewhere.example"),
      makeAuthority(),
    ]);
    const urls = [good, expired, otherName, unknown].map(
      ({ server }) => new RawUpstream({ tls: server }).url,
    );
    const file = join(temporaryDirectory(), "authorities.pem");
    writeFileSync(file, [good, expired, otherName].map(({ caCert }) => caCert).join("\n"));
    const found = await askOverPools(urls, { [variable]: file });
    const same = [
      "ok",
      "CERT_HAS_EXPIRED",
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    ];
    expect(found).toEqual(Array.from({ length: MAX_POOLS }, () => same));
  });
});

/** A ClientHello (RFC 8446 §4.1.2) as text, with zeros for what is random: Random, session id, and the key share's keys. */
function withoutRandom(record: Buffer): string {
  const hello = Buffer.from(record);
  const sessionIdLength = hello[43]!;
  hello.fill(0, 11, 43).fill(0, 44, 44 + sessionIdLength);
  let at = 44 + sessionIdLength;
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello[at]! + 2;
  while (at < hello.length) {
    const [type, length] = [hello.readUInt16BE(at), hello.readUInt16BE(at + 2)];
    if (type === KEY_SHARE) hello.fill(0, at + 4, at + 4 + length);
    at += 4 + length;
  }
  return hello.toString("latin1");
}

const KEY_SHARE = 51;

describe("300 exchanges at once, twice", () => {
  /** Returns how many connections each wave opens. Each of its requests is answered when all have come. */
  async function openedInWaves(upstream: RawUpstream, proxy: Proxy): Promise<number[]> {
    let held: Connection[] = [];
    upstream.answer = (connection) => {
      held.push(connection);
      if (held.length < 300) return;
      for (const { write } of held) write(OK);
      held = [];
    };
    const opened: number[] = [];
    for (let wave = 0; wave < 2; wave++) {
      const before = upstream.connections;
      const answers = await Promise.all(Array.from({ length: 300 }, () => roundTrip(proxy.port, REQUEST)));
      expect(new Set(answers.map(({ status, body }) => `${status} ${body}`))).toEqual(new Set(["200 ok"]));
      opened.push(upstream.connections - before);
    }
    expect(upstream.requests.length).toBe(600);
    return opened;
  }
  const authorizations = ({ requests }: RawUpstream): Set<string | undefined> =>
    new Set(requests.map(({ fields }) => fields.find(([name]) => name === "authorization")?.[1]));

  test("over TLS: the second time no connection is opened", async () => {
    const authority = await makeAuthority();
    const upstream = new RawUpstream({ tls: authority.server });
    const args = [`--upstream-url=${upstream.url}`];
    const proxy = await Proxy.start({ args, env: trust(authority, temporaryDirectory()) });
    expect(await openedInWaves(upstream, proxy)).toEqual([300, 0]);
    expect(authorizations(upstream)).toEqual(new Set([`Bearer ${CANARY_KEY}`]));
  });

  test("nor with access tokens", async () => {
    const hosts = await OidcHosts.start();
    expect(await openedInWaves(hosts.upstream, await hosts.proxy())).toEqual([300, 0]);
    expect(authorizations(hosts.upstream)).toEqual(new Set([`Bearer ${hosts.accessTokens[0]}`]));
  });

  test("without TLS, and through HTTPS_PROXY, Bun 1.4.5 keeps 64", async () => {
    const plain = new RawUpstream();
    const proxy = await Proxy.start({ args: [`--upstream-url=${plain.url}`] });
    expect((await openedInWaves(plain, proxy))[1]).toBeWithin(200, 300);

    const authority = await makeAuthority("upstream.test");
    const upstream = new RawUpstream({ tls: authority.server });
    const { port } = await startHttpProxy();
    const tunnelled = await Proxy.start({
      args: [`--upstream-url=https://upstream.test:${upstream.port}/v1/responses`],
      env: { ...trust(authority, temporaryDirectory()), HTTPS_PROXY: `http://127.0.0.1:${port}` },
    });
    expect((await openedInWaves(upstream, tunnelled))[1]).toBeWithin(200, 300);
    expect(authorizations(upstream)).toEqual(new Set([`Bearer ${CANARY_KEY}`]));
  });
});
