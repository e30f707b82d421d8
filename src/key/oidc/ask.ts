// One request to one of the two hosts that tokens come from. The answer is bounded in time and size, and lies in pages that are wiped.

import { SecretPages } from "../../../native/process/memory.ts";
import { causeOf } from "../../base/errors.ts";
import { faultFor } from "../../base/upstream-faults.ts";
import { SERVER } from "../../base/version.ts";
import { fetchSettings } from "../../input/upstream-url.ts";
import { errorCodeIn, Unacceptable } from "./acceptance.ts";

/** For each of the two requests, from its start to the answer's last byte. */
const TIMEOUT_MS = 10_000;

/** A token has one to three thousand bytes. */
const MAX_ANSWER_BYTES = 16 * 1024;

/** What a host is asked for. */
type Wanted = "ID token" | "access token";

/** Why a host gave no token, in words that repeat nothing of its answer. */
export class NoToken extends Error {
  constructor(
    message: string,
    readonly wanted: Wanted,
    /** Whether the host understood the request, and does not want to. */
    readonly isRefusal = false,
  ) {
    super(message);
  }
}

/** `host`: what it is called. */
export type Question = Readonly<{
  wanted: Wanted;
  host: string;
  url: string;
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: Uint8Array;
}>;

/**
 * Asks, and has `take` take what it needs from the answer's bytes, which are wiped afterwards. Throws NoToken for every other answer than one
 * of 2xx that `take` accepts: redirects, too, which are not followed. The body of the question is copied at the call (Bun 1.4.5), before this
 * waits.
 */
export async function ask<Taken>(
  { wanted, host, url, ...request }: Question,
  take: (bytes: Uint8Array) => Taken,
): Promise<Taken> {
  const pages = new SecretPages(MAX_ANSWER_BYTES);
  try {
    const answer = await fetch(url, {
      ...fetchSettings(new URL(url)),
      ...request,
      headers: { ...request.headers, accept: "application/json", "user-agent": SERVER },
      // No connection is kept: the next exchange is far away.
      keepalive: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    } as RequestInit);
    const bytes = await receive(answer, pages.bytes);
    if (!answer.ok) {
      const [status, code] = [answer.status, errorCodeIn(bytes)];
      const why = code === undefined ? "" : ` (${code})`;
      throw new NoToken(`${host} answers with ${status}${why}`, wanted, REFUSALS.includes(status));
    }
    return take(bytes);
  } catch (error) {
    throw asNoToken(error, wanted, host);
  } finally {
    pages.wipe();
  }
}

/** Moves the body into the pages. Throws Unacceptable if it has no room there. */
async function receive({ body }: Response, pages: Uint8Array): Promise<Uint8Array> {
  let length = 0;
  for await (const chunk of body ?? []) {
    const isTooLong = length + chunk.length > pages.length;
    if (!isTooLong) pages.set(chunk, length);
    length += chunk.length;
    chunk.fill(0);
    // Leaving the loop cancels the body.
    if (isTooLong) throw new Unacceptable(`its answer is longer than ${MAX_ANSWER_BYTES} bytes`);
  }
  return pages.subarray(0, length);
}

const REFUSALS = [400, 401, 403, 404];

function asNoToken(error: unknown, wanted: Wanted, host: string): NoToken {
  if (error instanceof NoToken) return error;
  return new NoToken(describe(error, host), wanted);
}

function describe(error: unknown, host: string): string {
  if (error instanceof Unacceptable) return `${host}: ${error.message}`;
  if (causeOf(error) === "TimeoutError") return `${host} does not answer within ${TIMEOUT_MS / 1000} s`;
  return faultFor(causeOf(error), host).what;
}
