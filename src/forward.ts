// One exchange: a client's request to the upstream, the upstream's answer to the client. Bytes are never parsed or changed.

import { type Clock, receiveBody, releaseBuffer, reserveBuffer } from "./body.ts";
import { causeOf, type ErrorCode, errorResponse } from "./errors.ts";
import { hasCertainEnd, toClient, toUpstream } from "./headers.ts";
import type { Journal } from "./journal.ts";
import { warnOfFull } from "./overload.ts";
import * as terminal from "./terminal.ts";
import type { Upstream } from "./upstream.ts";

/** The answer for a request that may pass. `clock` is the client's time to send something. */
export async function forward(
  request: Request,
  upstream: Upstream,
  clock: Clock,
  journal: Journal,
): Promise<Response> {
  const exchange = journal.begin(request);
  const headers = toUpstream(request.headers, upstream.authorization);
  const reserved = reserveBuffer(request);
  try {
    const body = await receiveBody(request, reserved, clock, exchange);
    const answer = await upstream.send(headers, body, request.signal);
    if (!upstream.isHttp2 && !hasCertainEnd(answer)) throw new UncertainEnd(answer);
    toClient(answer.headers);
    if (exchange !== undefined) return exchange.watch(answer, request.signal);
    journal.count(body, answer);
    // The answer is returned as it is, not rebuilt: it keeps back-pressure, breaks off where the upstream does, and is faster.
    return answer;
  } catch (error) {
    const answer = failedExchange(error, journal, request.signal);
    exchange?.fail(answer.status, error, request.signal);
    return answer;
  } finally {
    releaseBuffer(reserved);
  }
}

/** A truncated answer must never look whole, so one that could be truncated unseen is not passed on. */
class UncertainEnd extends Error {
  readonly code = "UncertainEnd";

  constructor(answer: Response) {
    super();
    void answer.body?.cancel();
  }
}

/** The answer where the upstream gave none that could be passed on, with one line to standard error. */
export function failedExchange(error: unknown, journal: Journal, signal?: AbortSignal): Response {
  // Nobody is left to read this answer, and nothing went wrong that a person should hear of.
  if (signal?.aborted) return errorResponse(502, "upstream_broke_off", "the client left");
  journal.fail();
  const { status, code, message } = explain(causeOf(error));
  const answer = errorResponse(status, code, message);
  if (code === "overloaded") {
    answer.headers.set("retry-after", "1");
    warnOfFull();
  } else {
    terminal.error(`exchange failed: ${message}`, { event: "failure", status, code });
  }
  return answer;
}

type Explanation = { status: number; code: ErrorCode; message: string };

function explain(cause: string): Explanation {
  for (const [causes, status, code, before, after] of EXPLANATIONS) {
    if (causes.test(cause)) return { status, code, message: `${before} (${cause})${after}` };
  }
  return { status: 500, code: "internal_error", message: `internal error (${cause}), details withheld` };
}

// By the names that Bun 1.4.5 gives the reasons of a failed fetch, as `error.code`; the first row that fits counts.
const EXPLANATIONS: [causes: RegExp, status: number, code: ErrorCode, before: string, after: string][] = [
  [
    /CERT|SELF_SIGNED|UNABLE_TO_|ISSUER|CRL|ERR_TLS|HOSTNAME_MISMATCH/,
    502,
    "upstream_certificate",
    "the upstream's certificate was refused",
    "; nothing was sent",
  ],
  [
    /^(ECONNREFUSED|ConnectionRefused|FailedToOpenSocket|ENOTFOUND|EAI_|ENETUNREACH|EHOSTUNREACH|ERR_PROXY|DNS)/,
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
    /HTTPResponse|Malformed|UnrequestedUpgrade|ResponseHeader|HTTP2|H2/,
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
