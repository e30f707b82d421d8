// Ten minutes of silence are allowed in an exchange, and less than a minute between two.

import { expect, test } from "bun:test";

import { Proxy } from "../harness/program.ts";
import { expectQuietIsFine } from "../harness/quiet.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { open, REQUEST } from "../harness/wire.ts";

test("10 minutes before the head and in the middle of a stream are fine", () => expectQuietIsFine(600));

test("a connection that waits for a next request is closed within a minute, and one with an exchange is not", async () => {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
  const waiting = await open(proxy.port, REQUEST);
  await waiting.until(/ok$/);
  upstream.answer = () => {};
  const exchanging = await open(proxy.port, REQUEST);
  const since = performance.now();
  await waiting.untilClosed(70);
  expect(performance.now() - since).toBeLessThan(65_000);
  expect(exchanging.closed).toBeUndefined();
});

test("connections that are busy are never closed as waiting ones, over more than a minute", async () => {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
  const until = performance.now() + 65_000;
  const wires = await Promise.all(Array.from({ length: 16 }, () => open(proxy.port)));
  await Promise.all(
    wires.map(async (wire) => {
      while (performance.now() < until) {
        wire.received = "";
        wire.send(REQUEST);
        await wire.until(/ok$/);
        expect(wire.closed).toBeUndefined();
        upstream.requests.length = 0;
      }
    }),
  );
});
