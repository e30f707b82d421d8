// Exchanges with a silence before the head and in the stream, for tests of any length.

import { expect } from "bun:test";
import { join } from "node:path";

import { Proxy, temporaryDirectory } from "./program.ts";
import { type Connection, RawUpstream } from "./upstream.ts";
import { HEAD, open, parseAnswer, STREAM } from "./wire.ts";

/** A body that is read whole, and one that streams: each has a timer of its own. */
const REQUESTS = [
  `${HEAD}Content-Length: 2\r\n\r\nhi`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`,
];

/** Expects answers whole after `seconds` without a byte before the head, and as many in the middle, over TCP and over a Unix socket. */
export async function expectQuietIsFine(seconds: number): Promise<void> {
  const quietBeforeHead = (connection: Connection): void => {
    setTimeout(() => connection.write(`${STREAM}2\r\nok\r\n0\r\n\r\n`), 1000 * seconds);
  };
  const quietInStream = (connection: Connection): void => {
    connection.write(`${STREAM}2\r\nok\r\n`);
    setTimeout(() => connection.write("2\r\nok\r\n0\r\n\r\n"), 1000 * seconds);
  };
  // Bun gives an answer that comes in one piece a Content-Length in place of chunks.
  const silences = [
    { answer: quietBeforeHead, body: "ok" },
    { answer: quietInStream, body: "okok" },
  ];
  const exchanges = silences.flatMap((silence) => REQUESTS.map((request) => ({ ...silence, request })));
  await Promise.all(
    exchanges.map(async ({ answer, body, request }) => {
      const upstream = new RawUpstream({ answer });
      const socket = join(temporaryDirectory(), "proxy.sock");
      const proxy = await Proxy.start({
        args: ["--port=0", `--socket=${socket}`, `--upstream-url=${upstream.url}`],
      });
      const wires = await Promise.all([proxy.port, socket].map((address) => open(address, request)));
      for (const wire of wires) {
        await wire.until(/\r\n\r\nok$|\r\n0\r\n\r\n$/, seconds + 15);
        expect(parseAnswer(wire.received, false)).toMatchObject({ status: 200, body });
      }
    }),
  );
}
