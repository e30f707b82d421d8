// Reads the key, or GitHub's request token in place of one.
//
// TAKE CARE WHEN CHANGING THIS FILE. What must stay true:
// - read(2) puts the key straight into the pages for it (locked, undumped, fenced), never into a stream or a Buffer pool.
// - Exactly one string is made of a key, the header value (authorization.ts). The pages are wiped on every path, errors included.
// - A request token stays in its pages; they are wiped if it cannot be used.
// - No message and no error contains a byte of what was read.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { isReadableWithin, isTerminal, readInto } from "../../native/files/descriptors.ts";
import type { SecretPages } from "../../native/process/memory.ts";
import { ID_TOKEN_PERMISSION, PIPE_IT_IN, UserError } from "../base/errors.ts";
import { Authorization, PREFIX, textIn } from "./authorization.ts";

const LF = 0x0a;
const CR = 0x0d;

/** What is read, in words, and what to do if it does not come. */
export type Wanted = Readonly<{
  name: string;
  /** Whether it is used so seldom that no string of it is kept. */
  staysInPages: boolean;
  pipeIn: string;
  nothingCame: readonly string[];
}>;

const KEY: Wanted = {
  name: "key",
  staysInPages: false,
  pipeIn: PIPE_IT_IN,
  nothingCame: [
    "nothing came before the first newline: is OPENAI_API_KEY set and exported here, or the file empty?",
    "in GitHub Actions a pull request from a fork gets no secrets",
  ],
};

/** With --github-oidc: what GitHub takes for an ID token, for as long as the job runs. */
const REQUEST_TOKEN: Wanted = {
  name: "request token",
  staysInPages: true,
  pipeIn:
    "pipe it in: printenv ACTIONS_ID_TOKEN_REQUEST_TOKEN | env -u ACTIONS_ID_TOKEN_REQUEST_TOKEN responses-api-proxy --github-oidc …",
  nothingCame: [
    "nothing came before the first newline: is ACTIONS_ID_TOKEN_REQUEST_TOKEN set and exported here, or the file empty?",
    ID_TOKEN_PERMISSION,
  ],
};

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
  { isRequestToken }: { isRequestToken: boolean },
): Promise<Authorization> {
  const wanted = isRequestToken ? REQUEST_TOKEN : KEY;
  const readSome: ReadSome = async (space) => {
    if (isTerminal(0))
      throw new UserError(`standard input is a terminal, and a ${wanted.name} must not be typed`, undefined, [
        wanted.pipeIn,
      ]);
    while (!isReadableWithin(0, WAIT_MS)) {
      // Lets the signal handlers run.
      await Bun.sleep(0);
      if (signal() !== undefined) throw new UserError(`${signal()} came before the ${wanted.name}`);
    }
    try {
      return readInto(0, space);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      throw new UserError(`standard input cannot be read (${error.message})`, undefined, [wanted.pipeIn]);
    }
  };
  return readKey(pages, readSome, wanted);
}

/** Reads up to the first LF or the end, and makes the header value. Rejects with UserError, and with what `readSome` throws. */
export async function readKey(
  pages: SecretPages,
  readSome: ReadSome,
  wanted: Wanted = KEY,
): Promise<Authorization> {
  let isKept = false;
  try {
    const end = await readLine(pages.bytes, readSome, wanted);
    isKept = wanted.staysInPages;
    return isKept ? new Authorization(pages, end) : new Authorization(textIn(pages, end));
  } finally {
    if (!isKept) pages.wipe();
  }
}

/** Puts `Bearer <key>` at the start of `bytes` and returns where it ends, which is in their first half. Throws UserError. */
async function readLine(bytes: Uint8Array, readSome: ReadSome, wanted: Wanted): Promise<number> {
  const { name, pipeIn, nothingCame } = wanted;
  const most = bytes.length / 2;
  const tooLong = () =>
    new UserError(`the ${name} is longer than ${most - PREFIX.length} bytes`, undefined, [pipeIn]);
  bytes.set(Buffer.from(PREFIX));
  let end = PREFIX.length;
  for (;;) {
    if (end === bytes.length) throw tooLong();
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
  if (end === PREFIX.length)
    throw new UserError(`standard input has no ${name} in it`, undefined, nothingCame);
  if (end > most) throw tooLong();
  if (!isToken68(bytes.subarray(PREFIX.length, end))) {
    throw new UserError(`the ${name} contains a character that no ${name} has`, undefined, [
      `a ${name} consists of letters, digits and - . _ ~ + / with = at its end (RFC 6750 b64token)`,
      "quotes, blanks, variable names and the word Bearer are often left in by mistake; what was read is not shown",
    ]);
  }
  return end;
}

/** Whether it can be sent as a bearer token (RFC 6750 §2.1): b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
export function isToken68(key: Uint8Array): boolean {
  let length = key.length;
  while (length > 0 && key[length - 1] === 0x3d) length--;
  if (length === 0) return false;
  return key.subarray(0, length).every((byte) => TOKEN68.includes(String.fromCharCode(byte)));
}

const TOKEN68 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
