// Large bodies: a response of 100 MB, and an upload of 100 MB, each on a connection of its own, without TLS.

import { type Bench, PEERS, withPeers } from "../peers.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

const MEGABYTES = 100;
const BYTES = MEGABYTES * 1e6;
const SMALL = 100;

export const bulk = ({ site, upstreams, rounds }: Bench): Promise<Row[]> =>
  withPeers(PEERS, upstreams.bulk, site, async (peerOf) => {
    const rows: Row[] = [];
    for (const [title, up, down] of [
      ["100 MB answer", SMALL, BYTES],
      ["100 MB upload", BYTES, SMALL],
    ] as const) {
      const samples = await inRounds(rounds + 2, PEERS, (name) => transfer(peerOf(name).url, up, down));
      const targets = [{ sign: "≥", limit: 0.8, times: "codex" }] as const;
      rows.push(makeRow({ title, unit: "MB/s", samples, figure: (seconds) => MEGABYTES / seconds, targets }));
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
  const seconds = await done.promise;
  if (status !== "HTTP/1.1 200") throw new Error(`the response is ${status}`);
  return seconds;
}
