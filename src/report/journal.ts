// What becomes of all exchanges: counted always; told one by one, and dumped, only where somebody asked for it.

import type { ErrorCode } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { isOwnHost } from "../proxy/policy.ts";
import type { Dump } from "./dump.ts";
import { Exchange } from "./exchange.ts";

/** Longest part of what a client sent that is shown. */
const MAX_SHOWN = 200;

export class Journal {
  readonly #dump: Dump | undefined;
  readonly #began = performance.now();
  #exchanges = 0;
  #refused = 0;
  #failed = 0;

  constructor(dump?: Dump) {
    this.#dump = dump;
  }

  /** A request that may pass. Returns an observer, or undefined if neither debug nor dump is on. */
  begin(request: Request): Exchange | undefined {
    const number = ++this.#exchanges;
    if (this.#dump === undefined && !terminal.isDetailed()) return undefined;
    return new Exchange(number, this.#dump?.begin(number, request));
  }

  /** A request that may not pass. */
  refuse(request: Request, rule: ErrorCode): void {
    this.#refused++;
    if (!terminal.isDetailed()) return;
    const [method, path] = [shorten(request.method), shorten(pathOf(request))];
    const fields = { event: "refusal", status: 403, rule, method, path };
    terminal.debug(`403, ${method} ${path}: refused: ${rule}`, fields);
  }

  /** An exchange that ended in an error of ours. */
  fail(): void {
    this.#failed++;
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
    };
    terminal.info(
      `ended after ${fields.uptime_s} s: ${fields.exchanges} exchanges (${fields.failed} failed), ${fields.refused} refused`,
      fields,
    );
  }
}

/**
 * The path of a request, without its query, which may hold anything, a key for example. Bun puts the Host field into the URL as it came: so
 * the path is shown only if that field is one of the proxy's own names.
 */
function pathOf({ url, headers }: Request): string {
  if (!isOwnHost(headers)) return "…";
  return url.replace(/^https?:\/\/[^/?#]*/i, "").replace(/([?#]|%3f|%23).*/is, "$1…");
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
