// A new proxy takes a socket over from a running one, again and again, while clients connect anew for each request.

import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { until } from "./deadline.ts";
import { type Ended, Proxy, temporaryDirectory } from "./program.ts";
import { type Connection, OK, RawUpstream } from "./upstream.ts";
import { chunk, HEAD, LAST_CHUNK, open, REQUEST, roundTrip, STREAM, type Wire } from "./wire.ts";

/** A request that the upstream answers with a stream, which the test ends. */
const STREAMING = `${HEAD}Content-Length: 6\r\n\r\nstream`;
const CLIENTS = 4;

/** Expects that `starts` proxies, one after the other, lose no request and cut no stream. Returns how many requests there were. */
export async function expectNothingLost(starts: number): Promise<number> {
  const streams: Connection[] = [];
  const upstream = new RawUpstream({
    answer: (connection, { body }) => {
      if (body !== "stream") return connection.write(OK);
      streams.push(connection);
      connection.write(STREAM + chunk("begin"));
    },
  });
  const socket = join(temporaryDirectory(), "socket");
  const start = (): Promise<Proxy> =>
    Proxy.start({ args: [`--socket=${socket}`, `--upstream-url=${upstream.url}`] });

  let proxy = await start();
  let isOver = false;
  let requests = 0;
  const wrong: string[] = [];
  const client = async (pauseMs: number): Promise<void> => {
    while (!isOver) {
      requests++;
      const told = await ask(socket, pauseMs).catch((error: Error) => error.message);
      if (told !== "200 ok") wrong.push(told);
    }
  };
  // Some have connected, and send a little later.
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(index % 2 === 0 ? 0 : 3)));
  const olds: { ended: Promise<Ended>; stream: Wire }[] = [];
  for (let count = 0; count < starts; count++) {
    const old = proxy;
    const stream = await open(socket, STREAMING);
    await stream.until(/begin\r\n$/);
    proxy = await start();
    old.signal("SIGTERM");
    olds.push({ ended: old.ended(), stream });
    await old.waitForLine(/SIGTERM: ending/);
    const [connection] = streams.splice(0);
    connection!.write(chunk("middle"));
    await stream.until(/middle\r\n$/);
    connection!.write(chunk("end") + LAST_CHUNK);
  }
  const { length } = await Promise.all(
    olds.map(async ({ ended, stream }) => {
      await stream.until(/\r\n0\r\n\r\n$/);
      expect(stream.received).toEndWith(chunk("begin") + chunk("middle") + chunk("end") + LAST_CHUNK);
      expect((await ended).exitCode).toBe(0);
    }),
  );
  expect(length).toBe(starts);
  isOver = true;
  await clients;
  expect(wrong).toEqual([]);
  // The one that is left still has its socket, and takes it along.
  expect((await roundTrip(socket, REQUEST)).status).toBe(200);
  await proxy.stop();
  await until(() => !existsSync(socket), `${socket} to go`);
  return requests;
}

/** What came of one request on a connection of its own. */
async function ask(socket: string, pauseMs: number): Promise<string> {
  const wire = await open(socket);
  await Bun.sleep(pauseMs);
  wire.send(REQUEST);
  await wire.until(/\r\n\r\nok$/);
  wire.socket.destroy();
  const status = /^HTTP\/1\.1 (\d+) /.exec(wire.received)?.[1];
  return status === "200" ? "200 ok" : `${wire.closed}: ${JSON.stringify(wire.received)}`;
}
