// Silence is allowed in an exchange, but not from a client whose request is not whole.

import { describe, expect, test } from "bun:test";

import { Proxy } from "../harness/program.ts";
import { expectQuietIsFine } from "../harness/quiet.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { HEAD, open, type Wire } from "../harness/wire.ts";

describe.concurrent("silence", () => {
  test("of 35 s before the head and in the middle of a stream is fine", () => expectQuietIsFine(35));

  test("of a client whose request is not whole closes its connection, also when it trickles", async () => {
    const upstream = new RawUpstream();
    const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
    const trickle = async (wire: Wire, byte: string): Promise<void> => {
      while (wire.closed === undefined) {
        wire.send(byte);
        await Bun.sleep(1_000);
      }
    };
    const silent = await open(proxy.port);
    const inHead = await open(proxy.port, HEAD);
    const inWholeBody = await open(proxy.port, `${HEAD}Content-Length: 100\r\n\r\nabc`);
    const inStreamedBody = await open(proxy.port, `${HEAD}Content-Length: 1000000\r\n\r\nabc`);
    const inChunk = await open(proxy.port, `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`);
    const trickledHead = await open(proxy.port, `${HEAD}X-A: `);
    const trickledBody = await open(proxy.port, `${HEAD}Content-Length: 100\r\n\r\n`);
    void trickle(trickledHead, "a");
    void trickle(trickledBody, "a");
    const stuck = { silent, inHead, inWholeBody, inStreamedBody, inChunk, trickledHead, trickledBody };
    const since = performance.now();
    for (const [name, wire] of Object.entries(stuck)) {
      await wire.untilClosed(50);
      expect(performance.now() - since, name).toBeLessThan(45_000);
    }
    expect(upstream.requests).toEqual([]);
  });
});
