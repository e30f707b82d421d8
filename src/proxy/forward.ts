// One exchange: the client's request goes to the upstream, the upstream's answer to the client. Bytes are never parsed or changed.

import { causeOf } from "../base/errors.ts";
import type { Journal } from "../report/journal.ts";
import { tellTrouble } from "../report/key-trouble.ts";
import { type IdleTimer, receiveBody, releaseBuffer, reserveBuffer } from "./body.ts";
import { failedExchange, UpstreamFault } from "./failures.ts";
import { isFramed, toClient } from "./headers.ts";
import type { Upstream } from "./upstream.ts";

/** Returns the answer to a request that may pass. `timer` limits how long the client may be silent; `inFlight` counts this request, too. */
export async function forward(
  request: Request,
  upstream: Upstream,
  timer: IdleTimer,
  inFlight: () => number,
  journal: Journal,
  by: string | undefined,
): Promise<Response> {
  const exchange = journal.begin(request, by);
  const reserved = reserveBuffer(request);
  try {
    const body = await receiveBody(request, reserved, timer, exchange);
    const answer = await upstream.send(request.headers, body, request.signal, inFlight() - 1).catch(asFault);
    refuseUnreadable(answer);
    toClient(answer.headers);
    journal.answered(answer.status);
    tellTrouble(answer.status, upstream.holds);
    if (exchange !== undefined) return exchange.watch(answer, request.signal);
    // Returned as it is, not rebuilt: so it keeps back-pressure, and breaks off if the upstream does.
    return answer;
  } catch (error) {
    const answer = failedExchange(error, journal, request.signal);
    exchange?.fail(answer.status, error, request.signal);
    return answer;
  } finally {
    releaseBuffer(reserved);
  }
}

function asFault(error: unknown): never {
  throw new UpstreamFault(causeOf(error));
}

/**
 * A truncated answer must never look whole, so one that could be truncated unseen is not passed on. Nor is an invalid status (RFC 9110 §15):
 * no answer can be made with it.
 */
function refuseUnreadable(answer: Response): void {
  const fault = answer.status < 100 ? "InvalidStatus" : isFramed(answer) ? undefined : "Unframed";
  if (fault === undefined) return;
  // Rejects if the body has broken off already; an unhandled rejection would end the program.
  answer.body?.cancel().catch(() => {});
  throw new UpstreamFault(fault);
}
