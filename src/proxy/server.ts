// The listening side: Bun.serve, the routes, and how serving ends.

import { causeOf } from "../base/errors.ts";
import { cannotListen } from "../input/listening.ts";
import type { Options } from "../input/options.ts";
import type { Journal } from "../report/journal.ts";
import { errorResponse } from "./error-response.ts";
import { failedExchange, faultOf } from "./failures.ts";
import { forward } from "./forward.ts";
import { closeWhenIdle } from "./idle.ts";
import {
  isProbe,
  loggablePath,
  type Refusal,
  refuseExchange,
  refuseShutdown,
  ROUTE,
  ROUTE_REFUSED,
  SHUTDOWN_ROUTE,
} from "./policy.ts";
import type { Upstream } from "./upstream.ts";

export type Listening = {
  port: number;
  /** Stops accepting at once, waits at most `timeoutMs` for exchanges in flight, then breaks them off. */
  stop: (timeoutMs: number) => Promise<void>;
  /** How many exchanges have begun and not ended. */
  inFlight: () => number;
  /** Closes the connections that wait for a next request. */
  closeIdle: () => void;
};

/** How long a client may be silent in the middle of a request. Without a limit, idle connections would use up all descriptors. */
const IDLE_TIMEOUT_SECONDS = 30;
const NO_TIMEOUT = 0;

/**
 * Listens on 127.0.0.1 and forwards. Calls `askedToEnd` for each `GET /shutdown` that may pass, with the number of exchanges in flight.
 * Throws UserError.
 */
export function listen(
  options: Options,
  upstream: Upstream,
  journal: Journal,
  askedToEnd: (inFlight: number) => void,
): Listening {
  const refused = (request: Request, { code, message }: Refusal): Response => {
    if (!isProbe(request)) journal.refuse({ method: request.method, path: loggablePath(request) }, code);
    return errorResponse(403, code, message);
  };
  const noteRequest = closeWhenIdle(() => server.closeIdleConnections());
  const onResponses = (request: Request, server: Bun.Server<undefined>): Response | Promise<Response> => {
    const refusal = refuseExchange(request);
    if (refusal !== undefined) return refused(request, refusal);
    // Not for a refused request: a web page could put off the closing of idle connections.
    noteRequest();
    const timer = {
      run: () => server.timeout(request, IDLE_TIMEOUT_SECONDS),
      stop: () => server.timeout(request, NO_TIMEOUT),
    };
    return forward(request, upstream, timer, journal);
  };
  const onShutdown = (request: Request): Response => {
    const refusal = options.httpShutdown ? refuseShutdown(request) : ROUTE_REFUSED;
    if (refusal !== undefined) return refused(request, refusal);
    askedToEnd(server.pendingRequests - 1);
    return new Response(null, { status: 200 });
  };
  const server = openServer(options.port, {
    // The route table compares the raw path, so /v1/x/../responses does not match; `request.url` shows it resolved.
    routes: { [ROUTE]: onResponses, [SHUTDOWN_ROUTE]: onShutdown },
    fetch: (request) => refused(request, ROUTE_REFUSED),
    error: (error) => failedExchange(faultOf(error), journal),
  });
  return {
    port: server.port!,
    stop: (timeoutMs) => stop(server, timeoutMs),
    inFlight: () => server.pendingRequests,
    closeIdle: () => server.closeIdleConnections(),
  };
}

type Handlers = {
  routes: Record<string, (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>>;
  fetch: (request: Request) => Response;
  error: (error: Error) => Response;
};

function openServer(port: number, handlers: Handlers): Bun.Server<undefined> {
  try {
    return Bun.serve({
      hostname: "127.0.0.1",
      port,
      // Bun 1.4.5 otherwise sets SO_REUSEPORT if `development` is false: another process could take a share of the requests.
      reusePort: false,
      // The default answers an exception with a page of source code.
      development: false,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      // The default is 128 MB; the upstream decides what is too large.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...handlers,
    });
  } catch (error) {
    throw cannotListen(port, causeOf(error));
  }
}

async function stop(server: Bun.Server<undefined>, timeoutMs: number): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, timeoutMs);
  await Promise.race([server.stop(), timer.promise]);
  clearTimeout(timeout);
  await server.stop(true);
}
