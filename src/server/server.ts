// The listening side: who is served what, on the TCP port and the Unix socket alike.

import type { Options } from "../input/options.ts";
import { errorResponse } from "../proxy/error-response.ts";
import { failedExchange, faultOf } from "../proxy/failures.ts";
import { forward } from "../proxy/forward.ts";
import {
  isProbe,
  loggablePath,
  type Refusal,
  refusalOfTarget,
  refuseExchange,
  refuseShutdown,
  ROUTE_REFUSED,
} from "../proxy/policy.ts";
import type { Upstream } from "../proxy/upstream.ts";
import type { Journal } from "../report/journal.ts";
import { Budget } from "./budget.ts";
import { type Handlers, IDLE_TIMEOUT_SECONDS, openServer, type Server, stopServer } from "./bun-serve.ts";
import { Callers } from "./callers.ts";
import type { EarlyOpened } from "./early.ts";
import { closeWhenIdle } from "./idle.ts";

type Listening = {
  /** Undefined if there is no TCP port. */
  port: number | undefined;
  /** How many sockets listen. */
  sockets: number;
  /** Stops accepting at once, waits at most `timeoutMs` for exchanges in flight, then calls `cutOff` with their number, and breaks them off. */
  stop: (timeoutMs: number, cutOff: (count: number) => void) => Promise<void>;
  /** How many exchanges have begun and not ended. */
  inFlight: () => number;
  /** Closes the connections that wait for a next request. */
  closeIdle: () => void;
  /** For how long nobody has been served. */
  quietForMs: () => number;
};

const NO_TIMEOUT = 0;

/**
 * Listens and forwards. Calls `askedToEnd` for each `GET /shutdown` that may pass, with the number of exchanges in flight. Throws
 * UserError.
 */
export function listen(
  options: Options,
  early: EarlyOpened,
  upstream: Upstream,
  journal: Journal,
  askedToEnd: (inFlight: number) => void,
): Listening {
  const servers: Server[] = [];
  const inFlight = (): number => servers.reduce((sum, { pendingRequests }) => sum + pendingRequests, 0);
  const closeIdle = (): void => servers.forEach((server) => server.closeIdleConnections());
  const { noteRequest, askedMsAgo } = closeWhenIdle(closeIdle);
  const quietForMs = (): number => (inFlight() > 0 ? 0 : askedMsAgo());
  const budget = new Budget(options);
  let callers: Callers;

  const refused = (request: Request, { status = 403, code, message, headers, by }: Refusal): Response => {
    if (!isProbe(request))
      journal.refuse({ method: request.method, path: loggablePath(request), by }, status, code);
    return errorResponse(status, code, message, headers);
  };
  const handlers: Handlers = {
    onResponses(request, server) {
      const refusal = refuseExchange(request);
      if (refusal !== undefined) return refused(request, refusal);
      const caller = callers.admit(request, server);
      if ("code" in caller) return refused(request, caller);
      const overspent = upstream.refuseWithoutToken() ?? budget.admit(inFlight);
      if (overspent !== undefined) return refused(request, { ...overspent, by: caller.by });
      // Not for a refused request: a web page could put off the closing of idle connections.
      noteRequest();
      const timer = {
        run: () => server.timeout(request, IDLE_TIMEOUT_SECONDS),
        stop: () => server.timeout(request, NO_TIMEOUT),
      };
      return forward(request, upstream, timer, inFlight, journal, caller.by);
    },
    onShutdown(request, server) {
      const refusal = options.httpShutdown ? refuseShutdown(request) : ROUTE_REFUSED;
      if (refusal !== undefined) return refused(request, refusal);
      const caller = callers.admit(request, server);
      if ("code" in caller) return refused(request, caller);
      askedToEnd(inFlight() - 1);
      return new Response(null, { status: 200 });
    },
    onOther: (request) => refused(request, refusalOfTarget(request)),
    onError: (error) => failedExchange(faultOf(error), journal),
  };

  const tcp = options.port === undefined ? undefined : openServer({ port: options.port }, handlers);
  if (tcp !== undefined) servers.push(tcp);
  if (early.socket !== undefined) servers.push(early.socket.server);
  callers = Callers.for(options.allowUsers.map(Number), early.token, early.diagnostics, tcp?.port);
  early.token?.file?.publish();
  early.socket?.publish(handlers);
  const stop = async (timeoutMs: number, cutOff: (count: number) => void): Promise<void> => {
    let isTold = false;
    const tell = (): void => {
      if (!isTold) cutOff(inFlight());
      isTold = true;
    };
    await Promise.all(servers.map((server) => stopServer(server, timeoutMs, tell)));
  };
  return { port: tcp?.port, sockets: servers.length, stop, inFlight, closeIdle, quietForMs };
}
