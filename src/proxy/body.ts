// A request's body: read whole if it is short, streamed if it is long; and how long the client may take.

import type { WatchedExchange } from "../report/watched-exchange.ts";

/**
 * Bodies of known length up to this are read whole before they are sent; longer ones, and those of unknown length, stream. Reading whole
 * takes less processor time up to about 1 MiB (docs/bun.md), but holds the body in memory.
 */
const MAX_BUFFERED_BODY_BYTES = 256 * 1024;

/**
 * Limit on all bodies together that are read whole at the same time; beyond it, bodies stream. Locked memory is never given back to the system
 * (madvise(2): EINVAL), so without a limit slow clients could make the proxy hold any amount for good.
 */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
let bufferedBytes = 0;

/** Reserves room for a body to be read whole, and returns its bytes; undefined if the body is to stream. The caller releases it. */
export function reserveBuffer({ headers }: Request): number | undefined {
  const length = Number(headers.get("content-length") ?? Infinity);
  if (length > MAX_BUFFERED_BODY_BYTES || bufferedBytes + length > MAX_BUFFERED_BYTES) return undefined;
  bufferedBytes += length;
  return length;
}

/** Gives the room back, once the body is sent or given up. */
export function releaseBuffer(reserved: number | undefined): void {
  bufferedBytes -= reserved ?? 0;
}

type Body = Uint8Array | ReadableStream<Uint8Array> | null;

/** Limits the client's silence; stopped while the proxy waits for others. */
export type IdleTimer = { run: () => void; stop: () => void };

/**
 * Returns the body as fetch takes it: whole if room for it is `reserved`, else as a stream. Rejects if the client leaves before a body that is
 * read whole is complete. A stream breaks off when the client does, so the upstream never takes a part for the whole.
 */
export async function receiveBody(
  request: Request,
  reserved: number | undefined,
  timer: IdleTimer,
  exchange?: WatchedExchange,
): Promise<Body> {
  // First, because `request.body` makes a stream of the body (Bun 1.4.5).
  if (reserved !== undefined) {
    const whole = await request.bytes();
    timer.stop();
    exchange?.sent(whole);
    exchange?.sentWhole();
    return whole;
  }
  if (request.body === null) {
    timer.stop();
    exchange?.sentWhole();
    return null;
  }
  return pacedBy(timer, request.body, exchange);
}

/** The same stream. The timer runs only while the proxy waits for the client: an upstream that does not read is not the client's fault. */
function pacedBy(
  timer: IdleTimer,
  body: ReadableStream<Uint8Array>,
  exchange?: WatchedExchange,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  timer.stop();
  return new ReadableStream({
    async pull(controller) {
      timer.run();
      const { done, value } = await reader.read();
      timer.stop();
      if (done) {
        exchange?.sentWhole();
        controller.close();
        return;
      }
      exchange?.sent(value);
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
