// The one value that is made of a key or of a token, and what holds it.
//
// TAKE CARE WHEN CHANGING THIS FILE. What must stay true:
// - A key is one string. A token stays in pages of its own until it is wiped, and a string is made of it for each request that it goes with.
// - No value that can be printed contains a byte of either.
//
// NOT protected by this file: the strings lie in the engine's heap, and `fetch` copies them for every request. mlockall(2) keeps those copies
// from the swap device, and PR_SET_DUMPABLE keeps them from other processes (lockdown/starts.ts).

import type { SecretPages } from "../../native/process/memory.ts";

export const PREFIX = "Bearer ";
const EQUALS = 0x3d;
const MIN_PART_BYTES = 16;

/** The value of the proxy's `Authorization` field. It shows as `[redacted]` if it is printed by accident. */
export class Authorization {
  readonly #value: string;
  #pages: SecretPages | undefined;
  readonly #length: number;

  /** A string, or the first `length` bytes of pages, which are this value's alone from now on. */
  constructor(value: string | SecretPages, length = 0) {
    this.#value = typeof value === "string" ? value : "";
    this.#pages = typeof value === "string" ? undefined : value;
    this.#length = length;
  }

  /** `Bearer <key>`, for the request to the upstream, or to the host that takes the token, and for nothing else. Empty after `wipe()`. */
  exposeForUpstream(): string {
    return this.#pages === undefined ? this.#value : textIn(this.#pages, this.#length);
  }

  /** Wipes the pages, if it has any: of a token that has been replaced. */
  wipe(): void {
    const pages = this.#pages;
    this.#pages = undefined;
    pages?.wipe();
  }

  /**
   * Which entries of an environment have the key in them, by their place: it is as execve(2) takes it, each entry ended by a NUL. A key of less
   * than 16 bytes must be the whole value: it could be part of others by chance. No string is made of the entries.
   */
  entriesWithKey(environment: Buffer): number[] {
    const key = Buffer.from(this.exposeForUpstream().slice(PREFIX.length), "latin1");
    const found: number[] = [];
    let place = 0;
    for (let start = 0, end = 0; (end = environment.indexOf(0, start)) !== -1; start = end + 1, place++) {
      const entry = environment.subarray(start, end);
      const value = entry.subarray(entry.indexOf(EQUALS) + 1);
      if (key.length < MIN_PART_BYTES ? value.equals(key) : entry.includes(key)) found.push(place);
    }
    key.fill(0);
    return found;
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "[redacted]";
  }
}

/** The first `length` bytes of pages. TAKE CARE: a string in the engine's heap. */
export function textIn({ bytes }: SecretPages, length: number): string {
  return Buffer.from(bytes.buffer, 0, length).toString("latin1");
}
