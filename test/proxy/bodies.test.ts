// Bodies that are read whole share a limit, so that slow clients cannot make the proxy hold any amount of memory.

import { expect, test } from "bun:test";

import { until } from "../harness/deadline.ts";
import { Proxy } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { HEAD, open, roundTrip, type Wire } from "../harness/wire.ts";

/** The size of the largest body that is read whole, and how many of that size are read at the same time. */
const BYTES = 256 * 1024;
const AT_ONCE = (64 * 1024 * 1024) / BYTES;
const UNFINISHED = `${HEAD}Content-Length: ${BYTES}\r\n\r\na`;

test("64 MiB of bodies are read whole at the same time, the next one streams, and the room is freed", async () => {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
  for (const round of [1, 2]) {
    const wires: Wire[] = [];
    for (let count = 0; count < AT_ONCE; count++) wires.push(await open(proxy.port, UNFINISHED));
    // Once these later requests are answered, the proxy has read what came before them.
    for (let count = 0; count < 10; count++)
      expect((await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
    expect(upstream.connections).toBe(round - 1);
    wires.push(await open(proxy.port, UNFINISHED));
    await until(() => upstream.connections === round, "the head of a body that streams");
    const left = Promise.withResolvers<void>();
    upstream.onClose = left.resolve;
    for (const wire of wires) wire.socket.destroy();
    await left.promise;
  }
  expect(upstream.requests).toEqual([]);
});
