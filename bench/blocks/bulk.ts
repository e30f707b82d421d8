// Large bodies: a response of 100 MB, and an upload of 100 MB, each on a connection of its own, without TLS.

import { type Bench, PROXIES, withPeers } from "../peers/peers.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

const MEGABYTES = 100;
const BYTES = MEGABYTES * 1e6;
const SMALL = 100;
const LONGEST_MS = 20_000;
/** The gateway reads a body as JSON, so these cannot go through it. */
const TAKING_ANYTHING = ["direct", ...PROXIES];

export const bulk = ({ site, upstreams, rounds }: Bench): Promise<Row[]> =>
  withPeers(TAKING_ANYTHING, upstreams.bulk, site, async (peerOf) => {
    const rows: Row[] = [];
    for (const [name, up, down] of [
      ["100 MB answer", SMALL, BYTES],
      ["100 MB upload", BYTES, SMALL],
    ] as const) {
      const send = (peer: string) => transfer(peerOf(peer).url, up, down);
      const samples = await inRounds(rounds, TAKING_ANYTHING, send);
      rows.push(makeRow({ name, unit: "MB/s", samples, figure: (seconds) => MEGABYTES / seconds }));
    }
    return rows;
  });

const PIECE = Buffer.alloc(1 << 18, "x");

/** Sends `up` bytes, asks for `down` bytes, as fast as the other side takes and gives them. Returns the seconds until all are there. */
async function transfer(url: string, up: number, down: number): Promise<number> {
  const { hostname, port, pathname, host } = new URL(url);
  const done = Promise.withResolvers<number>();
  const started = performance.now();
  let unsent = up;
  let received = 0;
  let status = "";
  const send = (socket: Bun.Socket): void => {
    while (unsent > 0) {
      const written = socket.write(PIECE.subarray(0, Math.min(PIECE.length, unsent)));
      if (written <= 0) return;
      unsent -= written;
    }
  };
  Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open(socket) {
        socket.write(
          `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\nAnswer-Bytes: ${down}\r\nContent-Length: ${up}\r\n\r\n`,
        );
        send(socket);
      },
      drain: send,
      data(socket, bytes) {
        // The head counts, too: some hundred bytes in a hundred million.
        received += bytes.length;
        status ||= bytes.toString("latin1", 0, 12);
        if (received < down || unsent > 0) return;
        done.resolve((performance.now() - started) / 1000);
        socket.terminate();
      },
      close: () => done.reject(new Error(`broken off after ${received} bytes (${status || "no response"})`)),
      error: (_socket, error) => done.reject(error),
    },
  }).catch(done.reject);
  const late = setTimeout(() => done.reject(new Error(`not over after ${LONGEST_MS / 1000} s`)), LONGEST_MS);
  const seconds = await done.promise.finally(() => clearTimeout(late));
  if (status !== "HTTP/1.1 200") throw new Error(`the response is ${status}`);
  return seconds;
}
