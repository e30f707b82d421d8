// What a client hears if its exchange fails: an error of the proxy's own, whose code says whose fault it was and whether the upstream may
// have had the request. Every fault of the upstream's is a 502 or 504; a 500 is an exception in the proxy's own code.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { causeOf, type ErrorCode, errorResponse } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import type { Journal } from "../report/journal.ts";
import { warnOfFull } from "./overload.ts";

/** What the upstream, or the way to it, did wrong. `code` is the reason's name. */
export class UpstreamFault extends Error {
  readonly code: string;

  constructor(code: string) {
    super();
    this.code = code;
  }
}

/**
 * What a handler of Bun.serve threw, or the body that it returned: the upstream's, if that broke off before a byte of it was passed on. Such
 * an error has a reason with a name (Bun 1.4.5), and an exception of the proxy's own has none, but for a failed system call.
 */
export function faultOf(error: unknown): unknown {
  const isNamed = error instanceof Error && "code" in error && typeof error.code === "string";
  return isNamed && !(error instanceof SystemCallError) ? new UpstreamFault(error.code as string) : error;
}

/** The answer where the upstream gave none that could be passed on, with one line to standard error. */
export function failedExchange(error: unknown, journal: Journal, signal?: AbortSignal): Response {
  // Nobody is left to read this answer, and nothing went wrong that a person should hear of.
  if (signal?.aborted) return errorResponse(502, "upstream_broke_off", "the client left");
  journal.fail();
  const { status, code, message } = error instanceof UpstreamFault ? explain(error.code) : ourFault(error);
  const answer = errorResponse(status, code, message);
  if (code === "overloaded") {
    answer.headers.set("retry-after", "1");
    warnOfFull();
  } else {
    const more = ON_THE_WAY.includes(code) ? " (responses-api-proxy doctor says more)" : "";
    terminal.error(`exchange failed: ${message}${more}`, { event: "failure", status, code });
  }
  return answer;
}

/** What the one who runs the proxy can look into: doctor goes the same way, step by step. */
const ON_THE_WAY: ErrorCode[] = ["upstream_unreachable", "upstream_certificate", "upstream_tls"];

type Explanation = { status: number; code: ErrorCode; message: string };

function explain(cause: string): Explanation {
  for (const [causes, status, code, before, after] of EXPLANATIONS) {
    if (causes.test(cause)) return { status, code, message: `${before} (${cause})${after}` };
  }
  const message = `the exchange with the upstream failed (${cause}); the request may have reached it`;
  return { status: 502, code: "upstream_failed", message };
}

function ourFault(error: unknown): Explanation {
  const message = `internal error (${causeOf(error)}), details withheld`;
  return { status: 500, code: "internal_error", message };
}

// By the names that Bun 1.4.5 gives the reasons of a failed fetch, as `error.code`; the first row that fits counts.
const EXPLANATIONS: [causes: RegExp, status: number, code: ErrorCode, before: string, after: string][] = [
  // X509_V_ERR_* (openssl-verify(1)), with which the handshake ends before anything is sent.
  [
    /CERT|SELF_SIGNED|UNABLE_TO_|ISSUER|CRL|ERR_TLS|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH_EXCEEDED/,
    502,
    "upstream_certificate",
    "the upstream's certificate was refused",
    "; nothing was sent",
  ],
  [
    /^(ENOTFOUND|EAI_|DNS)/,
    502,
    "upstream_unreachable",
    "the upstream's name could not be resolved",
    "; nothing was sent",
  ],
  [
    /^ERR_PROXY/,
    502,
    "upstream_unreachable",
    "the proxy that HTTPS_PROXY names does not connect to the upstream",
    "; nothing was sent",
  ],
  [
    /^(ECONNREFUSED|ConnectionRefused|FailedToOpenSocket|ENETUNREACH|EHOSTUNREACH)/,
    502,
    "upstream_unreachable",
    "the upstream could not be reached",
    "; nothing was sent",
  ],
  [
    /^(EMFILE|ENFILE)$/,
    503,
    "overloaded",
    "no file descriptor is left for a connection to the upstream",
    "; nothing was sent, try again later",
  ],
  // Whatever else is wrong with TLS: no common version, a server that wants a certificate, a record that is none, also of a connection
  // that has carried requests.
  [
    /^EPROTO$/,
    502,
    "upstream_tls",
    "the TLS connection to the upstream failed",
    "; the request may have reached it",
  ],
  // RFC 9113 §8.7: such a stream was not processed.
  [/RefusedStream/, 502, "upstream_broke_off", "the upstream refused the request", "; it did not process it"],
  // The kernel gave up: after some two minutes of connecting (tcp_syn_retries), or of data without an acknowledgement.
  [
    /^ETIMEDOUT$/,
    504,
    "upstream_timeout",
    "the upstream did not answer in time",
    "; the request may have reached it",
  ],
  [
    /^UncertainEnd$/,
    502,
    "upstream_unreadable",
    "the upstream's answer has neither a length nor chunks, so its end could not be told from a break",
    "",
  ],
  [
    /HTTPResponse|Malformed|UnrequestedUpgrade|ResponseHeader|InvalidContentLength|TransferEncoding|InvalidStatus/,
    502,
    "upstream_unreadable",
    "the upstream's answer could not be read",
    "; the request has reached it",
  ],
  [
    /^(ECONNRESET|ConnectionClosed|EPIPE|ECONNABORTED)/,
    502,
    "upstream_broke_off",
    "the upstream broke off before it answered",
    "; the request may have reached it",
  ],
];
