// What a client gets if its exchange fails: an error of the proxy's own, whose code says whose fault it was and whether the upstream may have
// had the request. Every fault of the upstream's is a 502 or 504; a 500 is an exception in the proxy's own code.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { causeOf } from "../base/errors.ts";
import { onceIn } from "../base/seldom.ts";
import * as terminal from "../base/terminal.ts";
import { faultFor } from "../base/upstream-faults.ts";
import type { Journal } from "../report/journal.ts";
import { type ErrorCode, errorResponse } from "./error-response.ts";

/** What the upstream, or the way to it, did wrong. `code` is the reason's name. */
export class UpstreamFault extends Error {
  readonly code: string;

  constructor(code: string) {
    super();
    this.code = code;
  }
}

/**
 * Tells the upstream's faults from the proxy's among what a handler of Bun.serve threw, or the body that it returned. The upstream's breaking
 * off has a reason with a name (Bun 1.4.5). An exception of the proxy's own has none, unless a system call failed, or a function of the runtime's
 * (ERR_…).
 */
export function faultOf(error: unknown): unknown {
  const isNamed = error instanceof Error && "code" in error && typeof error.code === "string";
  const isOwn = error instanceof SystemCallError || (isNamed && (error.code as string).startsWith("ERR_"));
  return isNamed && !isOwn ? new UpstreamFault(error.code as string) : error;
}

/** Returns the answer for an exchange that failed before an answer of the upstream's could be passed on, and logs one line. */
export function failedExchange(error: unknown, journal: Journal, signal?: AbortSignal): Response {
  // Nobody is left to read this answer, and a client that leaves is no failure.
  if (signal?.aborted) return errorResponse(502, "upstream_broke_off", "the client left");
  journal.fail();
  const { status, code, message } = explain(error);
  const answer = errorResponse(status, code, message);
  if (status === 503) {
    answer.headers.set("retry-after", "1");
    // That no token is left is told once, where it is renewed.
    if (code === "overloaded") warnOfFull();
  } else {
    const more = DOCTOR_CAN_TELL.includes(code) ? " (responses-api-proxy doctor says more)" : "";
    terminal.error(`exchange failed: ${message}${more}`, { event: "failure", status, code });
  }
  return answer;
}

/** Faults that `doctor` meets, too: it goes the same way. */
const DOCTOR_CAN_TELL: readonly ErrorCode[] = [
  "upstream_unreachable",
  "upstream_certificate",
  "upstream_tls",
];

function explain(error: unknown): { status: number; code: ErrorCode; message: string } {
  if (!(error instanceof UpstreamFault)) {
    const message = `internal error (${causeOf(error)}), details withheld`;
    return { status: 500, code: "internal_error", message };
  }
  const { status, code, what, request } = faultFor(error.code);
  return { status, code, message: request === "" ? what : `${what}; ${request}` };
}

const isTimeToWarn = onceIn(60_000);

/** Warns once a minute at most. */
export function warnOfFull(): void {
  if (!isTimeToWarn()) return;
  terminal.warning("no file descriptors left: new connections and exchanges are turned away with 503");
}
