// What becomes of all exchanges: counted always; told one by one, and dumped, only where somebody asked for it.

import type { Body } from "./body.ts";
import type { Dump } from "./dump.ts";
import type { ErrorCode } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import * as terminal from "./terminal.ts";

/** Longest part of what a client sent that is shown. */
const MAX_SHOWN = 200;

export class Journal {
  readonly #dump: Dump | undefined;
  readonly #began = performance.now();
  #exchanges = 0;
  #refused = 0;
  #failed = 0;
  #bytesUp = 0;
  #bytesDown = 0;
  #unmeasured = 0;

  constructor(dump?: Dump) {
    this.#dump = dump;
  }

  /** A request that may pass. What it answers is to be told how it goes on; undefined where nobody wants to know. */
  begin(request: Request): Exchange | undefined {
    this.#exchanges++;
    if (this.#dump === undefined && !terminal.isDetailed()) return undefined;
    return new Exchange(this.#number, this.#dump?.begin(this.#number, request), (bytesUp, bytesDown) => {
      this.#bytesUp += bytesUp;
      this.#bytesDown += bytesDown;
    });
  }

  /** A request that may not pass. */
  refuse(request: Request, rule: ErrorCode): void {
    this.#refused++;
    if (!terminal.isDetailed()) return;
    // A query may hold anything, a key for example.
    const [method, url] = [
      shorten(request.method),
      shorten(request.url.replace(/([?#]|%3f|%23).*/is, "$1…")),
    ];
    const fields = {
      event: "exchange",
      number: this.#number,
      status: 403,
      end: "refused",
      rule,
      method,
      url,
    };
    terminal.debug(`#${this.#number} 403, ${method} ${url}: refused: ${rule}`, fields);
  }

  /** An exchange that ended in an error of ours. */
  fail(): void {
    this.#failed++;
  }

  /** The bytes of an exchange that is not watched, as far as they are known without reading them: of what streams, often not. */
  count(body: Body, answer: Response): void {
    if (body instanceof Uint8Array) this.#bytesUp += body.byteLength;
    else if (body !== null) this.#unmeasured++;
    // These have no body, whatever length they name. (answer.body would say so, and make a stream to say it.)
    if (answer.status === 204 || answer.status === 304) return;
    const length = answer.headers.get("content-length");
    if (length !== null) this.#bytesDown += Number(length);
    else this.#unmeasured++;
  }

  /** Resolves when the dumps are complete. */
  async finish(): Promise<void> {
    await this.#dump?.close();
  }

  /** Says the totals. */
  reportTotals(): void {
    const fields = {
      event: "totals",
      uptime_s: Math.round((performance.now() - this.#began) / 1000),
      exchanges: this.#exchanges,
      failed: this.#failed,
      refused: this.#refused,
      bytes_up: this.#bytesUp,
      bytes_down: this.#bytesDown,
      streams_unmeasured: this.#unmeasured,
    };
    terminal.info(
      `ended after ${fields.uptime_s} s: ${fields.exchanges} exchanges (${fields.failed} failed), ${fields.refused} refused; ` +
        `${fields.bytes_up} bytes up, ${fields.bytes_down} down, streams of unknown length (${fields.streams_unmeasured}) not counted`,
      fields,
    );
  }

  /** Requests so far; the latest one's number. */
  get #number(): number {
    return this.#exchanges + this.#refused;
  }
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
