// Counts all exchanges; logs them one by one, and dumps them, only if somebody asked for it.

import * as terminal from "../base/terminal.ts";
import type { Dump } from "./dump.ts";
import { WatchedExchange } from "./watched-exchange.ts";

/** How much of what a client sent is shown at most. */
const MAX_SHOWN = 200;

export class Journal {
  readonly #dump: Dump | undefined;
  readonly #began = performance.now();
  #exchanges = 0;
  /** For the exchanges: whether it is the proxy that breaks them off. */
  readonly #ending = { isCut: false };
  #refused = 0;
  #failed = 0;
  /** The upstream's answers by the first digit of their status. */
  readonly #answers = new Map<number, number>();

  constructor(dump?: Dump) {
    this.#dump = dump;
  }

  /** A request that may pass. Returns an observer, or undefined if neither debug nor dump is on. */
  begin(request: Request, by: string | undefined): WatchedExchange | undefined {
    const number = ++this.#exchanges;
    if (this.#dump === undefined && !terminal.isDetailed()) return undefined;
    return new WatchedExchange(number, by, this.#dump?.begin(number, request), this.#ending);
  }

  /** A request that may not pass. */
  refuse(
    request: { method: string; path: string; by: string | undefined },
    status: number,
    rule: string,
  ): void {
    this.#refused++;
    if (!terminal.isDetailed()) return;
    const [method, path] = [shorten(request.method), shorten(request.path)];
    const { by } = request;
    terminal.debug(`${status}, ${method} ${path}: refused${by === undefined ? "" : `, by ${by}`}: ${rule}`, {
      event: "refusal",
      status,
      rule,
      method,
      path,
      ...(by === undefined ? {} : { by }),
    });
  }

  /** An answer of the upstream's that is passed on. */
  answered(status: number): void {
    const hundreds = Math.floor(status / 100);
    this.#answers.set(hundreds, (this.#answers.get(hundreds) ?? 0) + 1);
  }

  /** So many exchanges are broken off now, because their time at the end is over. */
  cutOff(count: number): void {
    this.#ending.isCut = true;
    const exchanges = count === 1 ? "exchange was" : "exchanges were";
    terminal.warning(`${count} ${exchanges} cut off: --shutdown-timeout was over`, [
      "a longer one lets streams end: --shutdown-timeout=1h",
    ]);
  }

  /** An exchange that ended in an error of the proxy's own. */
  fail(): void {
    this.#failed++;
  }

  /** Resolves when the dumps are complete. */
  async finish(): Promise<void> {
    await this.#dump?.close();
  }

  /** Logs the totals: at the end, or so far. */
  reportTotals(when: "at the end" | "so far" = "at the end"): void {
    const { text, fields } = this.totals(when);
    terminal.info(text, fields);
  }

  /** The totals, in words and as values. */
  totals(when: "at the end" | "so far" = "at the end"): { text: string; fields: terminal.Fields } {
    const fields = {
      event: "totals",
      uptime_s: Math.round((performance.now() - this.#began) / 1000),
      exchanges: this.#exchanges,
      failed: this.#failed,
      refused: this.#refused,
      answers: Object.fromEntries(
        [...this.#answers].toSorted().map(([first, count]) => [`${first}xx`, count]),
      ),
    };
    const counted = Object.entries(fields.answers).map(([status, count]) => `${count} × ${status}`);
    const answers = counted.length === 0 ? "" : `; answers: ${counted.join(", ")}`;
    const began = when === "so far" ? "running for" : "ended after";
    const exchanges = fields.exchanges === 1 ? "exchange" : "exchanges";
    const counts = `${fields.exchanges} ${exchanges} (${fields.failed} failed), ${fields.refused} refused`;
    return { text: `${began} ${fields.uptime_s} s: ${counts}${answers}`, fields };
  }
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
