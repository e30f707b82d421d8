// Many streams at once all arrive whole and on time.

import { expect, test } from "bun:test";

import { Proxy } from "../harness/program.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { open, REQUEST, STREAM } from "../harness/wire.ts";

const EVENTS = 20;

/** Opens `count` streams on `port`; each upstream connection sends events. Returns the median delay of an event in ms. */
async function streamAll(port: number, arrivals: Connection[], count: number): Promise<number> {
  arrivals.length = 0;
  const wires = await Promise.all(Array.from({ length: count }, () => open(port, REQUEST)));
  const delays: number[] = [];
  await Promise.all(wires.map((wire) => wire.until(/\r\n\r\n2\r\nok\r\n$/)));
  expect(arrivals).toHaveLength(count);
  for (const wire of wires) {
    wire.socket.on("data", (bytes) => {
      for (const [, sent] of bytes.toString("latin1").matchAll(/at (\d+\.\d+)/g))
        delays.push(performance.now() - Number(sent));
    });
  }
  for (let event = 0; event < EVENTS; event++) {
    for (const connection of arrivals) {
      const text = `at ${performance.now().toFixed(3)};`;
      connection.write(`${text.length.toString(16)}\r\n${text}\r\n`);
    }
    await Bun.sleep(20);
  }
  for (const connection of arrivals) connection.write("0\r\n\r\n");
  await Promise.all(wires.map((wire) => wire.until(/\r\n0\r\n\r\n$/)));
  for (const wire of wires) {
    expect(wire.received.match(/at \d/g)).toHaveLength(EVENTS);
    wire.socket.destroy();
  }
  return delays.sort((a, b) => a - b)[Math.floor(delays.length / 2)]!;
}

test.each([1, 1_000, 5_000])("%d streams: all whole, and no event late", async (count) => {
  const arrivals: Connection[] = [];
  const upstream = new RawUpstream({
    answer: (connection) => {
      arrivals.push(connection);
      connection.write(`${STREAM}2\r\nok\r\n`);
    },
  });
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
  const direct = await streamAll(upstream.port, arrivals, count);
  const through = await streamAll(proxy.port, arrivals, count);
  console.log(
    `${count} streams: median delay ${direct.toFixed(2)} ms direct, ${through.toFixed(2)} ms through the proxy`,
  );
  if (count === 1) expect(through).toBeLessThan(2);
  if (count === 1_000) expect(through - direct).toBeLessThan(10);
});
