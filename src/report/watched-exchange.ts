// One exchange that is observed: for its line in the log (--log-level=debug) and its files (--dump-dir).

import { causeOf } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import type { DumpedExchange } from "./dump.ts";

/** How an exchange ended. */
type Ending = "done" | "client left" | "upstream broke off" | "failed" | "cut off";

export class WatchedExchange {
  readonly #number: number;
  readonly #by: string | undefined;
  readonly #dumped: DumpedExchange | undefined;
  readonly #proxy: { readonly isCut: boolean };
  readonly #began = performance.now();
  #bytesUp = 0;
  #bytesDown = 0;
  #status = 0;
  #firstByteMs: number | null = null;
  #hasEnded = false;

  constructor(
    number: number,
    by: string | undefined,
    dumped: DumpedExchange | undefined,
    proxy: { readonly isCut: boolean },
  ) {
    this.#number = number;
    this.#by = by;
    this.#dumped = dumped;
    this.#proxy = proxy;
  }

  /** A part of the request's body, on its way to the upstream. */
  sent(bytes: Uint8Array): void {
    this.#bytesUp += bytes.byteLength;
    this.#dumped?.sent(bytes);
  }

  /** The whole body has been sent. */
  sentWhole(): void {
    this.#dumped?.sentWhole();
  }

  /**
   * Returns the same answer, observed. Its body is pulled as the client reads, so back-pressure stays, and it breaks off if the upstream's does.
   * A body of known length goes down in chunks (Bun 1.4.5).
   */
  watch(answer: Response, signal: AbortSignal): Response {
    this.#status = answer.status;
    this.#dumped?.answered(answer.status, answer.headers);
    // A status from 600 on can be passed on, but not made (Fetch: RangeError).
    if (answer.body === null || answer.status > 599) {
      this.#end("done");
      return answer;
    }
    const reader = answer.body.getReader();
    const pull = async (controller: ReadableStreamDefaultController): Promise<void> => {
      try {
        const { done, value } = await reader.read();
        if (done) {
          this.#end("done");
          controller.close();
          return;
        }
        this.#received(value);
        controller.enqueue(value);
      } catch (error) {
        this.#end(signal.aborted ? this.#gone() : "upstream broke off", error);
        throw error;
      }
    };
    const cancel = (reason: unknown): Promise<void> => {
      this.#end(this.#gone());
      return reader.cancel(reason);
    };
    const { status, headers } = answer;
    return new Response(new ReadableStream({ pull, cancel }), { status, headers });
  }

  /** The exchange ended without an answer of the upstream's; the client got `status`, if it was still there. */
  fail(status: number, error: unknown, signal: AbortSignal): void {
    this.#status = status;
    this.#end(signal.aborted ? this.#gone() : "failed", error);
  }

  /** Why the client's side is closed. */
  #gone(): Ending {
    return this.#proxy.isCut ? "cut off" : "client left";
  }

  #received(bytes: Uint8Array): void {
    this.#firstByteMs ??= this.#elapsedMs();
    this.#bytesDown += bytes.byteLength;
    this.#dumped?.received(bytes);
  }

  #end(end: Ending, error?: unknown): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#dumped?.end();
    const fields = {
      event: "exchange",
      number: this.#number,
      status: this.#status,
      end,
      ...(end === "failed" ? { cause: causeOf(error) } : {}),
      bytes_up: this.#bytesUp,
      bytes_down: this.#bytesDown,
      first_byte_ms: this.#firstByteMs,
      duration_ms: this.#elapsedMs(),
      ...(this.#by === undefined ? {} : { by: this.#by }),
    };
    const firstByte = this.#firstByteMs === null ? "" : `, first byte after ${this.#firstByteMs} ms`;
    terminal.debug(
      `#${fields.number} ${fields.status}, ${fields.bytes_up} bytes up, ${fields.bytes_down} down${firstByte}, ${fields.duration_ms} ms${this.#by === undefined ? "" : `, by ${this.#by}`}: ${end}`,
      fields,
    );
  }

  #elapsedMs(): number {
    return Math.round(performance.now() - this.#began);
  }
}
