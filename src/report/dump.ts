// --dump-dir: each exchange as two files, NNNNNN-<epoch ms>-request.json and -response.json, with credential headers redacted.
//
// Bodies go to disk as they come, in a file of their own (.part). When a body is whole, dump-file.ts makes JSON of it.

import { SystemCallError } from "../../native/ffi/libc.ts";
import type { Directory } from "../../native/files/directory.ts";
import { close, writeAll } from "../../native/files/files.ts";
import * as terminal from "../base/terminal.ts";
import { type DumpedHead, finishDump } from "./dump-file.ts";

/** A dump that cannot be written is logged once in this time. */
const WARN_EVERY_MS = 10_000;

/** Files that wait to be finished, each with a head in memory; beyond these, dumps are given up. */
const MAX_UNFINISHED = 2000;
/** How long files are finished at a time, before other events have their turn. */
const FINISHING_MS = 1;

/** Header fields that carry credentials. */
const REDACTED = ["authorization", "cookie", "set-cookie", "api-key", "x-api-key", "proxy-authorization"];

export class Dump {
  readonly #directory: Directory;
  readonly #unfinished: (() => Promise<void>)[] = [];
  #finishing: Promise<void> | undefined;
  #warnedAt = -Infinity;

  constructor(directory: Directory) {
    this.#directory = directory;
  }

  begin(number: number, { method, url, headers }: Request): DumpedExchange {
    const name = `${String(number).padStart(6, "0")}-${Date.now()}`;
    const request = this.#open(`${name}-request`, {
      method,
      // Not by URL, which throws if the port in Host is too large for one.
      url: url.replace(/^https?:\/\/[^/]*/i, ""),
      headers: redact(headers),
    });
    return new DumpedExchange(request, (status, answered) =>
      this.#open(`${name}-response`, { status, headers: redact(answered) }),
    );
  }

  /** Resolves when every file so far is finished. */
  async close(): Promise<void> {
    await this.#finishing;
  }

  /** Works for a short while at a time; in between, other events have their turn. */
  async #finishAll(): Promise<void> {
    while (this.#unfinished.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const until = performance.now() + FINISHING_MS;
      while (this.#unfinished.length > 0 && performance.now() < until) await this.#unfinished.shift()!();
    }
    this.#finishing = undefined;
  }

  #open(name: string, head: DumpedHead): DumpedBody {
    return new DumpedBody(this.#directory, name, head, {
      finish: (work) => {
        if (this.#unfinished.length >= MAX_UNFINISHED) throw new Error("too many at once");
        this.#unfinished.push(work);
        this.#finishing ??= this.#finishAll();
      },
      failed: (error) => {
        if (performance.now() - this.#warnedAt < WARN_EVERY_MS) return;
        this.#warnedAt = performance.now();
        terminal.warning(
          `an exchange is not dumped (${name}: ${error instanceof SystemCallError ? error.code : "too many at once"})`,
        );
      },
    });
  }
}

/** The two files of one exchange. */
export class DumpedExchange {
  readonly #request: DumpedBody;
  readonly #openAnswer: (status: number, headers: Headers) => DumpedBody;
  #answer: DumpedBody | undefined;

  constructor(request: DumpedBody, openAnswer: (status: number, headers: Headers) => DumpedBody) {
    this.#request = request;
    this.#openAnswer = openAnswer;
  }

  sent(bytes: Uint8Array): void {
    this.#request.write(bytes);
  }

  sentWhole(): void {
    this.#request.finish();
  }

  answered(status: number, headers: Headers): void {
    this.#answer = this.#openAnswer(status, headers);
  }

  received(bytes: Uint8Array): void {
    this.#answer?.write(bytes);
  }

  /** The exchange has ended in some way: both files keep what came. */
  end(): void {
    this.#request.finish();
    this.#answer?.finish();
  }
}

type Reports = { finish: (work: () => Promise<void>) => void; failed: (error: unknown) => void };

/** A body on its way to disk. A failure costs the dump and never the exchange. */
class DumpedBody {
  readonly #directory: Directory;
  readonly #name: string;
  readonly #head: DumpedHead;
  readonly #reports: Reports;
  #fd: number | undefined;

  constructor(directory: Directory, name: string, head: DumpedHead, reports: Reports) {
    this.#directory = directory;
    this.#name = name;
    this.#head = head;
    this.#reports = reports;
    this.#attempt(() => (this.#fd = directory.create(`${name}.part`, 0o600)));
  }

  write(bytes: Uint8Array): void {
    const fd = this.#fd;
    if (fd !== undefined) this.#attempt(() => writeAll(fd, bytes));
  }

  finish(): void {
    if (this.#fd === undefined) return;
    this.#attempt(() => {
      this.#reports.finish(() =>
        finishDump(this.#directory, this.#name, this.#head).catch((error: unknown) =>
          this.#reports.failed(error),
        ),
      );
      close(this.#fd!);
      this.#fd = undefined;
    });
  }

  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#reports.failed(error);
      if (this.#fd === undefined) return;
      close(this.#fd);
      this.#fd = undefined;
      this.#directory.removeIfThere(`${this.#name}.part`);
    }
  }
}

function redact(headers: Headers): { name: string; value: string }[] {
  return [...headers].map(([name, value]) => ({
    name,
    value: REDACTED.includes(name) ? "[REDACTED]" : value,
  }));
}
