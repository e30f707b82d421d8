// Everything secret: reading the key, the one value that holds it, and what it may turn into.
//
// TAKE CARE WHEN CHANGING THIS FILE. What must stay true:
// - The key is read by read(2) straight into pages of our own (locked, undumped, fenced), never through a stream or a Buffer pool.
// - Exactly one string is made of it, the header value; everything it was read into is wiped on every path, errors included.
// - No message, no error and no value that can be printed contains a byte of what was read.
//
// NOT protected by this: the string itself lies in the engine's heap, and `fetch` copies it for every request. What keeps those
// copies from the swap device is mlockall, and what keeps them from other processes is that this one is not dumpable.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { isTerminal, readInto } from "../../native/files/descriptors.ts";
import { SecretPages } from "../../native/process/memory.ts";
import { PIPE_IT_IN, UserError } from "../base/errors.ts";

/** Room for `Bearer <key>`; the longest key known (a service account's) has 168 characters. */
export const MAX_AUTHORIZATION_BYTES = 4096;
const PREFIX = "Bearer ";
const LF = 0x0a;
const CR = 0x0d;

const NOTHING_CAME = [
  "nothing came before the first newline: is OPENAI_API_KEY set and exported here, or the file empty?",
  "in GitHub Actions a pull request from a fork gets no secrets",
];

/** The value of our `Authorization` field. It shows as `[redacted]` wherever a value can be shown by accident. */
export class Authorization {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** `Bearer <key>`, for the request to the upstream and for nothing else. */
  exposeForUpstream(): string {
    return this.#value;
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

/** Fills the space given with what comes next and answers how many bytes that were, 0 at the end: read(2) in the program. */
export type ReadSome = (space: Uint8Array) => number;

/** What was read, and which protections of the pages it was read into could not be had. */
export type ReadKey = { authorization: Authorization; missing: readonly string[] };

/** Reads the key from standard input. Throws UserError for a terminal, an unreadable input or an unusable key. */
export function readKeyFromStandardInput(): ReadKey {
  if (isTerminal(0))
    throw new UserError("standard input is a terminal, and a key must not be typed", undefined, [PIPE_IT_IN]);
  return readKey((space) => {
    try {
      return readInto(0, space);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      throw new UserError(`standard input cannot be read (${error.message})`, undefined, [PIPE_IT_IN]);
    }
  });
}

/** Reads up to the first LF or the end, and makes the header value. Throws UserError, and whatever `readSome` throws. */
export function readKey(readSome: ReadSome): ReadKey {
  // Twice the room, so that a key at the limit still fits with the CR LF behind it, and one beyond it is seen to be.
  const pages = new SecretPages(2 * MAX_AUTHORIZATION_BYTES);
  try {
    const end = readLine(pages.bytes, readSome);
    const value = Buffer.from(pages.bytes.buffer, 0, end).toString("latin1");
    return { authorization: new Authorization(value), missing: pages.missing };
  } finally {
    pages.wipe();
  }
}

/** Puts `Bearer <key>` at the start of `bytes` and answers where it ends. */
function readLine(bytes: Uint8Array, readSome: ReadSome): number {
  bytes.set(Buffer.from(PREFIX));
  let end = PREFIX.length;
  for (;;) {
    if (end === bytes.length) throw tooLong();
    const count = readSome(bytes.subarray(end));
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
  if (end > MAX_AUTHORIZATION_BYTES) throw tooLong();
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

function tooLong(): UserError {
  const most = MAX_AUTHORIZATION_BYTES - PREFIX.length;
  return new UserError(`the key is longer than ${most} bytes`, undefined, [PIPE_IT_IN]);
}
