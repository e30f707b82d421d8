// One exchange: a client's request to the upstream, the upstream's answer to the client. Bytes are never parsed or changed.

import { causeOf } from "../base/errors.ts";
import type { Journal } from "../report/journal.ts";
import { type Clock, receiveBody, releaseBuffer, reserveBuffer } from "./body.ts";
import { failedExchange, UpstreamFault } from "./failures.ts";
import { hasCertainEnd, toClient, toUpstream } from "./headers.ts";
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
    const answer = await upstream.send(headers, body, request.signal).catch((error: unknown) => {
      throw new UpstreamFault(causeOf(error));
    });
    refuseUnreadable(answer);
    toClient(answer.headers);
    if (exchange !== undefined) return exchange.watch(answer, request.signal);
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

/**
 * A truncated answer must never look whole, so one that could be truncated unseen is not passed on; nor is a status that is none
 * (RFC 9110 §15), with which no answer can be made.
 */
function refuseUnreadable(answer: Response): void {
  const fault = answer.status < 100 ? "InvalidStatus" : hasCertainEnd(answer) ? undefined : "UncertainEnd";
  if (fault === undefined) return;
  // Rejects if the body has broken off already, and a rejection that nobody hears ends the program.
  answer.body?.cancel().catch(() => {});
  throw new UpstreamFault(fault);
}
