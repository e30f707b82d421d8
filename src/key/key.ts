// Everything secret: reads the key, and holds the one value that is made of it.
//
// TAKE CARE WHEN CHANGING THIS FILE. What must stay true:
// - read(2) puts the key straight into the pages for it (locked, undumped, fenced), never into a stream or a Buffer pool.
// - Exactly one string is made of it, the header value. The pages are wiped on every path, errors included.
// - No message, no error and no value that can be printed contains a byte of what was read.
//
// NOT protected by this file: the string lies in the engine's heap, and `fetch` copies it for every request. mlockall(2) keeps those copies
// from the swap device, and PR_SET_DUMPABLE keeps them from other processes (lockdown/starts.ts).

import { SystemCallError } from "../../native/ffi/libc.ts";
import { isReadableWithin, isTerminal, readInto } from "../../native/files/descriptors.ts";
import type { SecretPages } from "../../native/process/memory.ts";
import { PIPE_IT_IN, UserError } from "../base/errors.ts";

const PREFIX = "Bearer ";
const LF = 0x0a;
const CR = 0x0d;
const EQUALS = 0x3d;
const MIN_PART_BYTES = 16;

const NOTHING_CAME = [
  "nothing came before the first newline: is OPENAI_API_KEY set and exported here, or the file empty?",
  "in GitHub Actions a pull request from a fork gets no secrets",
];

/** The value of the proxy's `Authorization` field. It shows as `[redacted]` if it is printed by accident. */
export class Authorization {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** `Bearer <key>`, for the request to the upstream and for nothing else. */
  exposeForUpstream(): string {
    return this.#value;
  }

  /**
   * The names of the variables whose value has the key in it, of an environment as execve(2) takes it: `NAME=value`, each ended by a NUL. A
   * key of less than 16 bytes must be the whole value: it could be part of others by chance. No string is made of the values.
   */
  namesOfVariablesWithKey(environment: Buffer): string[] {
    const key = Buffer.from(this.#value.slice(PREFIX.length), "latin1");
    const names: string[] = [];
    for (let start = 0, end = 0; (end = environment.indexOf(0, start)) !== -1; start = end + 1) {
      const equals = environment.indexOf(EQUALS, start);
      if (equals === -1 || equals >= end) continue;
      const value = environment.subarray(equals + 1, end);
      if (key.length < MIN_PART_BYTES ? value.equals(key) : value.includes(key))
        names.push(environment.toString("latin1", start, equals));
    }
    key.fill(0);
    return names;
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

/** Reads into the space and returns the number of bytes, 0 at the end; read(2) in the program. */
type ReadSome = (space: Uint8Array) => number | Promise<number>;

/** A signal interrupts the wait anyway. */
const WAIT_MS = 100;

/**
 * Reads the key from standard input, or from the key file that the first start has put there. The pages are wiped and gone afterwards.
 * `signal` returns the signal that has asked the program to end meanwhile, if one has: handlers run only while it waits between reads. Rejects with
 * UserError for that, for a terminal, an unreadable input or an unusable key.
 */
export function readKeyFromStandardInput(
  pages: SecretPages,
  signal: () => string | undefined,
): Promise<Authorization> {
  return readKey(pages, async (space) => {
    if (isTerminal(0))
      throw new UserError("standard input is a terminal, and a key must not be typed", undefined, [
        PIPE_IT_IN,
      ]);
    while (!isReadableWithin(0, WAIT_MS)) {
      // Lets the signal handlers run.
      await Bun.sleep(0);
      if (signal() !== undefined) throw new UserError(`${signal()} came before the key`);
    }
    try {
      return readInto(0, space);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      throw new UserError(`standard input cannot be read (${error.message})`, undefined, [PIPE_IT_IN]);
    }
  });
}

/** Reads up to the first LF or the end, and makes the header value. Rejects with UserError, and with what `readSome` throws. */
export async function readKey(pages: SecretPages, readSome: ReadSome): Promise<Authorization> {
  try {
    const end = await readLine(pages.bytes, readSome);
    return new Authorization(Buffer.from(pages.bytes.buffer, 0, end).toString("latin1"));
  } finally {
    pages.wipe();
  }
}

/** Puts `Bearer <key>` at the start of `bytes` and returns where it ends, which is in their first half. Throws UserError. */
async function readLine(bytes: Uint8Array, readSome: ReadSome): Promise<number> {
  const most = bytes.length / 2;
  bytes.set(Buffer.from(PREFIX));
  let end = PREFIX.length;
  for (;;) {
    if (end === bytes.length) throw tooLong(most);
    const count = await readSome(bytes.subarray(end));
    const lineFeed = bytes.subarray(end, end + count).indexOf(LF);
    if (lineFeed !== -1) {
      end += lineFeed;
      break;
    }
    end += count;
    if (count === 0) break;
  }
  while (end > PREFIX.length && bytes[end - 1] === CR) end--;
  if (end === PREFIX.length) throw new UserError("standard input has no key in it", undefined, NOTHING_CAME);
  if (end > most) throw tooLong(most);
  if (!isToken68(bytes.subarray(PREFIX.length, end))) {
    throw new UserError("the key contains a character that no key has", undefined, [
      "a key consists of letters, digits and - . _ ~ + / with = at its end (RFC 6750 b64token)",
      "quotes, blanks, variable names and the word Bearer are often left in by mistake; what was read is not shown",
    ]);
  }
  return end;
}

/** RFC 6750 §2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
function isToken68(key: Uint8Array): boolean {
  let length = key.length;
  while (length > 0 && key[length - 1] === 0x3d) length--;
  if (length === 0) return false;
  return key.subarray(0, length).every((byte) => TOKEN68.includes(String.fromCharCode(byte)));
}

const TOKEN68 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";

function tooLong(most: number): UserError {
  return new UserError(`the key is longer than ${most - PREFIX.length} bytes`, undefined, [PIPE_IT_IN]);
}
