// Silence is allowed in an exchange, but not from a client whose request is not whole.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until } from "../harness/deadline.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { expectQuietIsFine } from "../harness/quiet.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { chunk, HEAD, open, REQUEST, STREAM, type Wire } from "../harness/wire.ts";

describe.concurrent("silence", () => {
  test("of 35 s before the head and in the middle of a stream is fine", () => expectQuietIsFine(35));

  test("of a client whose request is not whole closes its connection, also when it trickles", async () => {
    const upstream = new RawUpstream();
    const socket = join(temporaryDirectory(), "proxy.sock");
    const proxy = await Proxy.start({
      args: ["--port=0", `--socket=${socket}`, `--upstream-url=${upstream.url}`],
    });
    const trickle = async (wire: Wire, byte: string): Promise<void> => {
      while (wire.closed === undefined) {
        wire.send(byte);
        await Bun.sleep(1_000);
      }
    };
    const stuck: [name: string, wire: Wire][] = [];
    for (const address of [proxy.port, socket]) {
      const add = async (name: string, bytes?: string): Promise<Wire> => {
        const wire = await open(address, bytes);
        stuck.push([`${name} ${address}`, wire]);
        return wire;
      };
      await add("silent");
      await add("in the head", HEAD);
      await add("in a whole body", `${HEAD}Content-Length: 100\r\n\r\nabc`);
      await add("in a streamed body", `${HEAD}Content-Length: 1000000\r\n\r\nabc`);
      await add("in a chunk", `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`);
      void trickle(await add("trickled head", `${HEAD}X-A: `), "a");
      void trickle(await add("trickled body", `${HEAD}Content-Length: 100\r\n\r\n`), "a");
    }
    const since = performance.now();
    for (const [name, wire] of stuck) {
      await wire.untilClosed(50);
      expect(performance.now() - since, name).toBeLessThan(45_000);
      // Nothing that could be taken for an answer of the upstream's.
      expect(wire.received, name).toMatch(
        /^(HTTP\/1\.1 408 [^\n]*\r\nConnection: close\r\n[\s\S]*\r\n\r\n)?$/,
      );
    }
    expect(upstream.requests).toEqual([]);
    // It is the client that is at fault, and no exchange has failed.
    expect((await proxy.stop()).stderr).toMatch(/: 0 exchanges|\(0 failed\)/);
  });

  test("of a client in a later head, or behind an early answer, closes nothing if Bun 1.4.5 has no clock there", async () => {
    const upstream = new RawUpstream();
    const socket = join(temporaryDirectory(), "proxy.sock");
    const proxy = await Proxy.start({
      args: ["--port=0", `--socket=${socket}`, `--upstream-url=${upstream.url}`],
    });
    const REFUSED = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    /** Sends the second once the first is answered. */
    const inTwo = async (address: number | string, first: string, second: string): Promise<Wire> => {
      const wire = await open(address, first);
      await wire.until(/(ok|\}\})$/);
      wire.send(second);
      return wire;
    };
    const closed = [
      await inTwo(proxy.port, REFUSED, "abc"),
      await inTwo(proxy.port, REFUSED, `aaaaaaaaa${HEAD}`),
    ];
    const kept = [
      await inTwo(proxy.port, REQUEST, HEAD),
      await inTwo(socket, REQUEST, HEAD),
      await inTwo(socket, REFUSED, "abc"),
      await inTwo(socket, REFUSED, `aaaaaaaaa${HEAD}`),
    ];
    for (const wire of closed) await wire.untilClosed(45);
    // Whatever has the same clock has run out by now, too.
    await Bun.sleep(4000);
    expect(kept.map((wire) => wire.closed)).toEqual([undefined, undefined, undefined, undefined]);
    // And the rest of a request is still taken for what it is.
    kept[0]!.send("Content-Length: 2\r\n\r\nhi");
    await kept[0]!.until(/ok[^]*ok$/);
    for (const wire of kept) wire.socket.destroy();
  });

  const EARLY: [answered: string, answer: string, begun: RegExp][] = [
    // The end of the head goes on with the first byte of the body (docs/bun.md).
    ["with a head", STREAM, /^HTTP\/1\.1 200 /],
    ["with a head and an event", STREAM + chunk("event"), /event\r\n$/],
  ];
  test.each(EARLY)(
    "of a client that was answered %s before its request is whole, too",
    async (_answered, answer, begun) => {
      // The answer comes with the first bytes of the request, and has no end.
      let left = 0;
      const listener = Bun.listen<{ isAnswered: boolean }>({
        hostname: "127.0.0.1",
        port: 0,
        socket: {
          open: (connection) => void (connection.data = { isAnswered: false }),
          data: (connection) => {
            if (!connection.data.isAnswered) connection.write(answer);
            connection.data.isAnswered = true;
          },
          close: () => void left++,
        },
      });
      atEnd(() => listener.stop(true));
      const socket = join(temporaryDirectory(), "proxy.sock");
      const proxy = await Proxy.start({
        args: [
          "--port=0",
          `--socket=${socket}`,
          `--upstream-url=http://127.0.0.1:${listener.port}/v1/responses`,
        ],
      });
      const uploads = [
        "Content-Length: 1000000\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
      ];
      const since = performance.now();
      const stuck = await Promise.all(
        [proxy.port, socket].flatMap((address) => uploads.map((upload) => open(address, HEAD + upload))),
      );
      for (const wire of stuck) {
        await wire.until(begun);
        expect(wire.closed).toBeUndefined();
      }
      for (const wire of stuck) {
        await wire.untilClosed(50);
        expect(performance.now() - since).toBeLessThan(45_000);
        // It never looks whole.
        expect(wire.received).not.toContain("0\r\n\r\n");
      }
      await until(() => left === stuck.length, "the upstream to be left");
      expect((await proxy.stop()).stderr).toMatch(/: 4 exchanges \(0 failed\)/);
    },
  );
});
