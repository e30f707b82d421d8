// Tokens are renewed while requests go on: nobody waits for it, nobody fails, one exchange at a time; and what happens if it fails. Lives of
// seconds, no fake clock.

import { describe, expect, test } from "bun:test";

import { until, within } from "../harness/deadline.ts";
import { json, OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import type { Proxy } from "../harness/program.ts";
import { OK } from "../harness/upstream.ts";
import { chunk, LAST_CHUNK, open, REQUEST, roundTrip, STREAM } from "../harness/wire.ts";

const UNAUTHORIZED = json("401 Unauthorized", { error: { message: "no", code: "invalid_api_key" } });

/** Which of the tokens, by its number from 0, each request to the upstream had. */
const used = (hosts: OidcHosts): number[] =>
  hosts.authorizations().map((value) => hosts.accessTokens.findIndex((token) => value === `Bearer ${token}`));

/** As many requests at once; resolves with their statuses. */
async function ask(proxy: Proxy, count: number): Promise<Set<number>> {
  const statuses = await Promise.all(
    Array.from({ length: count }, async () => {
      const answer = await fetch(`${proxy.baseUrl}/v1/responses`, { method: "POST", body: "hi" });
      await answer.bytes();
      return answer.status;
    }),
  );
  return new Set(statuses);
}

/** Holds the next answer of GitHub's until `release` is called. */
function holdExchange(hosts: OidcHosts): { begun: Promise<void>; release: () => void } {
  const begun = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  hosts.beforeAnswer = () => {
    begun.resolve();
    return held.promise;
  };
  return {
    begun: within(begun.promise, "an exchange"),
    release: () => {
      hosts.beforeAnswer = () => undefined;
      held.resolve();
    },
  };
}

/** Has the upstream refuse a token, so that a renewal begins now. */
async function refuseOnce(hosts: OidcHosts, proxy: Proxy): Promise<void> {
  hosts.upstream.answer = UNAUTHORIZED;
  const statuses = await ask(proxy, 1);
  hosts.upstream.answer = OK;
  expect([...statuses]).toEqual([401]);
}

/** Those of tokens: if the tester is an ordinary user, there are others. */
const warnings = (stderr: string): string[] =>
  stderr.match(/^responses-api-proxy: warning: .*access token.*$/gm) ?? [];

describe("a token that ends", () => {
  test("is renewed before it does, again and again: every request passes, and none waits for an exchange", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 8;
    const proxy = await hosts.proxy("--log-level=debug");
    // From here on an exchange takes one second, twice half of one. On a busy machine it takes several times as long, and has four.
    let exchange = 0;
    let isOpen = false;
    hosts.beforeAnswer = async () => {
      exchange++;
      isOpen = true;
      await Bun.sleep(500);
      isOpen = false;
    };
    const given: number[] = [performance.now()];
    let [asked, answeredMeanwhile] = [0, 0];
    const all = new Set<number>();
    while (hosts.accessTokens.length < 4) {
      const count = hosts.accessTokens.length;
      const before = isOpen ? exchange : 0;
      const statuses = await ask(proxy, 4);
      for (const status of statuses) all.add(status);
      asked++;
      if (isOpen && before === exchange) answeredMeanwhile++;
      await Bun.sleep(50);
      if (hosts.accessTokens.length > count) given.push(performance.now());
    }
    expect([...all]).toEqual([200]);
    // Those that waited for an exchange would be answered after it.
    expect(answeredMeanwhile).toBeGreaterThan(2);
    expect(asked).toBeGreaterThan(10);
    // At half of a life or a little earlier, and not all the time.
    const pauses = given.slice(1).map((at, index) => at - given[index]!);
    for (const pause of pauses) expect(pause).toBeGreaterThan(1500);
    // Each in its turn, and none once the next was there.
    const order = used(hosts);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(new Set(order)).toEqual(new Set([0, 1, 2]));
    expect(hosts.github.requests.length).toBe(hosts.openai.requests.length);
    expect(warnings(proxy.stderr)).toEqual([]);
    const told = proxy.stderr.match(/^responses-api-proxy: a new access token, expires in [78] s$/gm);
    expect(told!.length).toBeGreaterThan(1);
  }, 60_000);

  test("with nobody asking: it is renewed all the same", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 2;
    const proxy = await hosts.proxy();
    await until(() => hosts.accessTokens.length >= 4, "three renewals", { seconds: 20 });
    expect(hosts.upstream.requests).toEqual([]);
    hosts.lifeSeconds = 3600;
    const given = hosts.accessTokens.length;
    await until(() => hosts.accessTokens.length > given, "the last renewal");
    await until(async () => (await ask(proxy, 1)).has(200), "a request that passes");
  });

  test("a stream outlives the token that it began with", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 2;
    const finish = Promise.withResolvers<() => void>();
    hosts.upstream.answer = (connection) => {
      connection.write(STREAM + chunk("one"));
      finish.resolve(() => connection.write(chunk("two") + LAST_CHUNK));
    };
    const proxy = await hosts.proxy();
    const wire = await open(proxy.port, REQUEST);
    await wire.until(/one\r\n$/);
    await until(() => hosts.accessTokens.length >= 4, "three renewals", { seconds: 20 });
    (await finish.promise)();
    expect(await wire.until(/0\r\n\r\n$/)).toEndWith(chunk("one") + chunk("two") + LAST_CHUNK);
    wire.socket.destroy();
  });
});

describe("1,000 requests at once during a renewal", () => {
  test("are served with the token that is there, before the exchange is over: one exchange, nobody waits, nobody fails", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    const exchange = holdExchange(hosts);
    await refuseOnce(hosts, proxy);
    await exchange.begun;
    const statuses = await ask(proxy, 1000);
    expect([...statuses]).toEqual([200]);
    // Nothing has been exchanged so far, and nobody else has asked.
    expect(hosts.accessTokens).toHaveLength(1);
    expect([hosts.github.requests.length, hosts.openai.requests.length]).toEqual([2, 1]);
    exchange.release();
    await until(() => hosts.accessTokens.length === 2, "the new token");
    await until(async () => {
      await ask(proxy, 1);
      return used(hosts).at(-1) === 1;
    }, "a request with the new token");
    expect(used(hosts).slice(0, 1001)).toEqual(Array(1001).fill(0));
    expect([hosts.github.requests.length, hosts.openai.requests.length]).toEqual([2, 2]);
  }, 60_000);

  test("across the change: each has the one or the other, whole", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    const exchange = holdExchange(hosts);
    await refuseOnce(hosts, proxy);
    await exchange.begun;
    const asked = ask(proxy, 1000);
    await until(() => hosts.upstream.requests.length > 100, "some of the requests");
    exchange.release();
    expect([...(await asked)]).toEqual([200]);
    await until(async () => {
      await ask(proxy, 1);
      return used(hosts).at(-1) === 1;
    }, "a request with the new token");
    expect(new Set(used(hosts))).toEqual(new Set([0, 1]));
    expect(hosts.openai.requests).toHaveLength(2);
  }, 60_000);
});

describe("a 401 of the upstream's", () => {
  test("is passed on as it came, once, and makes one renewal, however many there are", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    const exchange = holdExchange(hosts);
    hosts.upstream.answer = UNAUTHORIZED;
    const answer = await roundTrip(proxy.port, REQUEST);
    expect(answer.status).toBe(401);
    expect(answer.body).toBe('{"error":{"message":"no","code":"invalid_api_key"}}');
    await exchange.begun;
    expect([...(await ask(proxy, 200))]).toEqual([401]);
    // Each was sent once.
    expect(hosts.upstream.requests).toHaveLength(201);
    exchange.release();
    await until(() => hosts.accessTokens.length === 2, "the new token");
    hosts.upstream.answer = OK;
    await until(async () => {
      expect([...(await ask(proxy, 1))]).toEqual([200]);
      return used(hosts).at(-1) === 1;
    }, "a request with the new token");
    expect([hosts.github.requests.length, hosts.openai.requests.length]).toEqual([2, 2]);
    expect(warnings(proxy.stderr)).toEqual([
      "responses-api-proxy: warning: the upstream does not accept the access token (401)",
    ]);
  });

  test("of the new token's as well: no second renewal soon after", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    await refuseOnce(hosts, proxy);
    await until(() => hosts.accessTokens.length === 2, "the new token");
    await until(async () => {
      await ask(proxy, 1);
      return used(hosts).at(-1) === 1;
    }, "a request with the new token");
    hosts.upstream.answer = UNAUTHORIZED;
    expect([...(await ask(proxy, 50))]).toEqual([401]);
    // A neighbour that does renew shows that there would have been time for it.
    const other = await OidcHosts.start();
    await refuseOnce(other, await other.proxy());
    await until(() => other.accessTokens.length === 2, "the other proxy's new token");
    expect(hosts.github.requests).toHaveLength(2);
  });

  test("and no other status: 403, 429 and 500 leave the token alone", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    for (const status of ["403 Forbidden", "429 Too Many Requests", "500 Internal Server Error"]) {
      hosts.upstream.answer = json(status, "{}");
      await ask(proxy, 5);
    }
    hosts.upstream.answer = OK;
    const exchange = holdExchange(hosts);
    expect(hosts.github.requests).toHaveLength(1);
    // The neighbour.
    await refuseOnce(hosts, proxy);
    await exchange.begun;
    expect(hosts.github.requests).toHaveLength(2);
    exchange.release();
  });

  test("if the renewal fails, the token serves on", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    hosts.accessAnswer = () => json("503 Service Unavailable", `qqqq ${REQUEST_TOKEN}`);
    await refuseOnce(hosts, proxy);
    await proxy.waitForLine(/cannot be renewed: .*\n/);
    expect([...(await ask(proxy, 3))]).toEqual([200]);
    expect(new Set(used(hosts))).toEqual(new Set([0]));
    expect(warnings(proxy.stderr)[1]).toBe(
      `responses-api-proxy: warning: the access token cannot be renewed: the token exchange (localhost:${hosts.openai.port}) answers with 503; the present one serves for another 60 min`,
    );
  });
});

describe("a renewal that fails", () => {
  test("is tried again after pauses, with one warning; when it works again, a line says so", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 8;
    const proxy = await hosts.proxy();
    hosts.accessAnswer = () => json("503 Service Unavailable", "qqqq");
    const attempts: number[] = [];
    hosts.beforeAnswer = () => {
      attempts.push(performance.now());
      return undefined;
    };
    await proxy.waitForLine(/cannot be renewed: .*\n/);
    // Both hosts are asked in each.
    await until(() => attempts.length >= 6, "three attempts", { seconds: 20 });
    expect([...(await ask(proxy, 20))]).toEqual([200]);
    hosts.accessAnswer = (token) => hosts.goodAnswer(token);
    const [, count] = await proxy.waitForLine(
      /a new access token after (\d+) failed attempts, expires in 8 s\n/,
    );
    expect(Number(count)).toBeGreaterThanOrEqual(3);
    expect(hosts.github.requests.length).toBe(2 + Number(count));
    // A quarter of a second at least, whatever is left of the life.
    const began = attempts.filter((_, index) => index % 2 === 0);
    for (const [index, at] of began.slice(1).entries()) expect(at - began[index]!).toBeGreaterThan(240);
    expect(warnings(proxy.stderr)).toHaveLength(1);
    await until(async () => {
      await ask(proxy, 1);
      return used(hosts).at(-1) === 1;
    }, "a request with the new token");
    expect(proxy.stderr).not.toContain("qqqq");
  }, 60_000);

  test("because the request token is refused: a warning with hints, and the token serves until it ends", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 4;
    const proxy = await hosts.proxy();
    hosts.idAnswer = () => json("401 Unauthorized", "{}");
    const [line] = await proxy.waitForLine(/cannot be renewed: .*\n.*\n.*\n/);
    expect(line).toStartWith(
      `cannot be renewed: GitHub's ID token host (localhost:${hosts.github.port}) answers with 401; the present one serves for another 2 s\n` +
        "responses-api-proxy: hint: the request token is accepted for as long as the job runs\n" +
        "responses-api-proxy: hint: in GitHub Actions the job needs permissions: id-token: write\n",
    );
    expect([...(await ask(proxy, 3))]).toEqual([200]);
    await proxy.waitForLine(/no access token is left: .*\n/);
    expect([...(await ask(proxy, 3))]).toEqual([503]);
  });
});

describe("if no token is left", () => {
  test("requests get 503 no_token at once, which says when to ask again; the upstream hears nothing; then all is well again", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 2;
    const proxy = await hosts.proxy("--max-requests=3");
    const endsAtMs = Date.now() + 1000 * hosts.lifeSeconds;
    const exchange = holdExchange(hosts);
    await exchange.begun;
    await until(() => Date.now() >= endsAtMs, "the token's end");
    const none = await roundTrip(proxy.port, REQUEST);
    expect(none.status).toBe(503);
    expect(JSON.parse(none.body)).toEqual({
      error: {
        message:
          "refused by responses-api-proxy: no access token is left, and none could be got yet; try again later",
        type: "proxy_error",
        param: null,
        code: "no_token",
      },
    });
    const fields = new Map(none.fields);
    expect(fields.get("retry-after")).toBe("1");
    expect(fields.get("server")).toStartWith("responses-api-proxy/");
    // Nobody waits for the exchange, which is held.
    expect([...(await ask(proxy, 1000))]).toEqual([503]);
    expect(hosts.upstream.requests).toEqual([]);
    expect(hosts.github.requests).toHaveLength(2);
    hosts.lifeSeconds = 3600;
    exchange.release();
    await until(() => hosts.accessTokens.length === 2, "the new token");
    // One before, 1,000 at once, the one of --max-requests below, and those that come before the token does.
    let refused = 1002;
    await until(async () => {
      const statuses = await ask(proxy, 1);
      if (statuses.has(503)) refused++;
      return statuses.has(200);
    }, "a request that passes");
    // What was answered with 503 has spent none of --max-requests.
    expect([...(await ask(proxy, 2))]).toEqual([200]);
    expect([...(await ask(proxy, 1))]).toEqual([403]);
    const { stderr } = await proxy.stop();
    expect(stderr).toContain(`: 3 exchanges (0 failed), ${refused} refused; answers: 3 × 2xx\n`);
    expect(warnings(stderr)).toEqual([
      "responses-api-proxy: warning: no access token is left: requests get 503 (no_token) until it can be renewed",
    ]);
  }, 60_000);

  test("by the time a client has sent its body: the same answer, and nothing is sent", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 2;
    const proxy = await hosts.proxy();
    const endsAtMs = Date.now() + 1000 * hosts.lifeSeconds;
    const exchange = holdExchange(hosts);
    const wire = await open(proxy.port, REQUEST.slice(0, -1));
    await exchange.begun;
    await until(() => Date.now() >= endsAtMs, "the token's end");
    wire.send("i");
    const answer = await wire.until(/\r\n\r\n.*\}$/);
    expect(answer).toStartWith("HTTP/1.1 503 ");
    expect(answer).toMatch(/^retry-after: 1\r$/im);
    expect(answer).toContain('"code":"no_token"');
    expect(hosts.upstream.requests).toEqual([]);
    // The neighbour: once there is a token, the same passes.
    hosts.lifeSeconds = 3600;
    exchange.release();
    await until(async () => {
      const later = await open(proxy.port, REQUEST.slice(0, -1));
      later.send("i");
      const answered = await later.until(/(ok|\})$/);
      later.socket.destroy();
      return answered.startsWith("HTTP/1.1 200 ");
    }, "a request that passes");
    wire.socket.destroy();
  });
});
