// One exchange: a client's request to the upstream, the upstream's answer to the client. Bytes are never parsed or changed.

import { causeOf, errorResponse } from "./errors.ts";
import { toClient, toUpstream } from "./headers.ts";
import * as terminal from "./terminal.ts";
import type { Upstream } from "./upstream.ts";

/**
 * Bodies of known length up to this are read whole before they are sent: twice as fast for small ones, but the whole body is in
 * memory. Longer ones, and those of unknown length, stream.
 */
const MAX_BUFFERED_BODY_BYTES = 256 * 1024;

/** The answer for a request that may pass. `whenReceived` is called once the client has nothing more to send. */
export async function forward(
  request: Request,
  upstream: Upstream,
  whenReceived: () => void,
): Promise<Response> {
  const headers = toUpstream(request.headers, upstream.authorization);
  try {
    const body = await receiveBody(request);
    whenReceived();
    // The answer is returned as it is, not rebuilt: it keeps back-pressure, breaks off where the upstream does, and is faster.
    const answer = await upstream.send(headers, body, request.signal);
    toClient(answer.headers);
    return answer;
  } catch (error) {
    return failedExchange(error, request.signal);
  }
}

async function receiveBody(request: Request): Promise<Uint8Array | ReadableStream | null> {
  const length = request.headers.get("content-length");
  if (length !== null && Number(length) <= MAX_BUFFERED_BODY_BYTES) return request.bytes();
  return request.body;
}

/** The answer where the upstream gave none that could be passed on, with one line to standard error. */
export function failedExchange(error: unknown, signal?: AbortSignal): Response {
  const cause = causeOf(error);
  // Nobody is left to read this answer, and nothing went wrong that a person should hear of.
  if (signal?.aborted) return errorResponse(502, "upstream_broke_off", "the client left");
  const { status, code, message } = explain(cause);
  terminal.error(`exchange failed: ${message}`);
  return errorResponse(status, code, message);
}

function explain(cause: string): {
  status: number;
  code: Parameters<typeof errorResponse>[1];
  message: string;
} {
  if (CERTIFICATE_CAUSES.test(cause)) {
    const message = `the upstream's certificate was refused (certificate: ${cause}); nothing was sent`;
    return { status: 502, code: "upstream_certificate", message };
  }
  if (cause === "ETIMEDOUT" || cause === "TimeoutError") {
    const message = `the upstream did not answer in time (${cause}); the request may have reached it`;
    return { status: 504, code: "upstream_timeout", message };
  }
  if (UNREACHABLE_CAUSES.test(cause)) {
    const message = `the upstream could not be reached (${cause}); nothing was sent`;
    return { status: 502, code: "upstream_unreachable", message };
  }
  if (UNREADABLE_CAUSES.test(cause)) {
    const message = `the upstream's answer could not be read (${cause}); the request has reached it`;
    return { status: 502, code: "upstream_unreadable", message };
  }
  const message = `the upstream broke off before it answered (${cause}); the request may have reached it`;
  return { status: 502, code: "upstream_broke_off", message };
}

// The names that Bun 1.4.5 gives the reasons of a failed fetch, as `error.code`.
const CERTIFICATE_CAUSES = /CERT|SELF_SIGNED|UNABLE_TO_|ISSUER|CRL|ERR_TLS|HOSTNAME_MISMATCH/;
const UNREACHABLE_CAUSES =
  /^(ECONNREFUSED|ConnectionRefused|FailedToOpenSocket|ENOTFOUND|EAI_|ENETUNREACH|EHOSTUNREACH|ERR_PROXY|DNS)/;
const UNREADABLE_CAUSES = /HTTPResponse|Malformed|Invalid|UnrequestedUpgrade|ResponseHeader|TooMany|HTTP2|H2/;
