// Tokens in the proxy's memory, as root sees it: each of the two that are held lies once in pages of its own, which are wiped when it is replaced;
// and no copy, of any token, is in memory that is not locked.

import { describe, expect, test } from "bun:test";

import { SecretPages } from "../../native/process/memory.ts";
import { until } from "../harness/deadline.ts";
import { mappingsWithFlags, scanMemory, scanSecretPages } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { json, OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import { OK, RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

/** Locked, left out of core files, empty in a child process: the pages for secrets (SecretPages), and nothing else. */
const secretPages = (pid: number): string[] => mappingsWithFlags(pid, "lo", "dd", "wf");

/** fetch's and TLS's buffers of one exchange, and the string that its request was made of (Bun 1.4.5: one to four). */
const MOST_LEFT_BEHIND = 5;

test("fetch copies bytes at the call: they can be wiped and unmapped while the request goes on (Bun 1.4.5)", async () => {
  const upstream = new RawUpstream();
  for (let round = 1; round <= 20; round++) {
    const pages = new SecretPages(16_384);
    const length = 700 * round;
    pages.bytes.fill(64 + round, 0, length);
    const asked = fetch(upstream.url, { method: "POST", body: pages.bytes.subarray(0, length) });
    pages.wipe();
    expect((await asked).status).toBe(200);
    expect(upstream.requests.at(-1)!.body).toBe(String.fromCharCode(64 + round).repeat(length));
  }
});

describe.skipIf(lacks("root"))("tokens in memory (needs root)", () => {
  test("idle: the request token and the access token once each, in pages of their own; the ID token in none", async () => {
    const hosts = await OidcHosts.start();
    const { pid } = await hosts.proxy();
    const [idToken, accessToken] = [hosts.idTokens[0]!, hosts.accessTokens[0]!];
    expect(secretPages(pid)).toHaveLength(2);
    expect([REQUEST_TOKEN, idToken, accessToken].map((token) => scanSecretPages(pid, token))).toEqual([
      1, 0, 1,
    ]);
    for (const token of [REQUEST_TOKEN, idToken, accessToken]) {
      const { copies, unlocked } = scanMemory(pid, token);
      expect(unlocked).toBe(0);
      expect(copies).toBeLessThanOrEqual(1 + MOST_LEFT_BEHIND);
    }
  }, 60_000);

  test("after five renewals with requests in between: the new one once, the old ones in no such page, and no more pages than before", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    // The first by a 401, the others because a life is over.
    hosts.lifeSeconds = 2;
    hosts.upstream.answer = json("401 Unauthorized", "{}");
    await roundTrip(proxy.port, REQUEST);
    hosts.upstream.answer = OK;
    const renewed = async (): Promise<boolean> => {
      await roundTrip(proxy.port, REQUEST);
      return hosts.accessTokens.length >= 5;
    };
    await until(renewed, "four renewals", { seconds: 20 });
    hosts.lifeSeconds = 3600;
    await until(() => hosts.accessTokens.length === 6, "the last renewal");
    await until(async () => {
      await roundTrip(proxy.port, REQUEST);
      return hosts.authorizations().at(-1) === `Bearer ${hosts.accessTokens[5]}`;
    }, "a request with the last token");
    expect(secretPages(proxy.pid)).toHaveLength(2);
    expect(hosts.accessTokens.map((token) => scanSecretPages(proxy.pid, token))).toEqual([0, 0, 0, 0, 0, 1]);
    expect(hosts.idTokens.map((token) => scanSecretPages(proxy.pid, token))).toEqual([0, 0, 0, 0, 0, 0]);
    expect(scanSecretPages(proxy.pid, REQUEST_TOKEN)).toBe(1);
    for (const token of [REQUEST_TOKEN, ...hosts.idTokens.slice(3), ...hosts.accessTokens.slice(3)])
      expect(scanMemory(proxy.pid, token).unlocked).toBe(0);
  }, 60_000);

  test("after exchanges that failed: nothing of theirs is in such pages", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    hosts.accessAnswer = (token) => ({ ...hosts.goodAnswer(token), expires_in: 0 });
    hosts.upstream.answer = json("401 Unauthorized", "{}");
    await roundTrip(proxy.port, REQUEST);
    await proxy.waitForLine(/cannot be renewed: /);
    await until(() => hosts.accessTokens.length >= 4, "three attempts");
    const settled = (): boolean => secretPages(proxy.pid).length === 2;
    await until(settled, "the pages of an attempt to be gone");
    expect(scanSecretPages(proxy.pid, hosts.accessTokens[0]!)).toBe(1);
    for (const token of [...hosts.accessTokens.slice(1), ...hosts.idTokens])
      expect(scanSecretPages(proxy.pid, token)).toBe(0);
  }, 60_000);

  test("after 2,000 requests on 32 connections: no copy that is not locked", async () => {
    const hosts = await OidcHosts.start();
    const proxy = await hosts.proxy();
    let left = 2000;
    const connection = async (): Promise<void> => {
      while (left-- > 0) {
        const answer = await fetch(`${proxy.baseUrl}/v1/responses`, { method: "POST", body: "hi" });
        expect(await answer.text()).toBe("ok");
      }
    };
    await Promise.all(Array.from({ length: 32 }, connection));
    const { copies, unlocked } = scanMemory(proxy.pid, hosts.accessTokens[0]!);
    expect(unlocked).toBe(0);
    expect(copies).toBeGreaterThan(0);
    expect(scanSecretPages(proxy.pid, hosts.accessTokens[0]!)).toBe(1);
  }, 60_000);
});
