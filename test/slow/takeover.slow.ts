// A hundred proxies take a socket over from each other, under load.

import { expect, test } from "bun:test";

import { expectNothingLost } from "../harness/takeover.ts";

test("100 times: no client notices, and streams of the old ones end whole", async () => {
  const requests = await expectNothingLost(100);
  console.log(`100 takeovers, ${requests} requests on connections of their own`);
  expect(requests).toBeGreaterThan(1_000);
});
