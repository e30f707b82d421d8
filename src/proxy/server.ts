// The listening side: Bun.serve, the routes, and how serving ends.

import { causeOf, errorResponse, UserError } from "../base/errors.ts";
import type { Options } from "../input/options.ts";
import type { Journal } from "../report/journal.ts";
import { failedExchange, faultOf } from "./failures.ts";
import { forward } from "./forward.ts";
import {
  isProbe,
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

/**
 * How long a client may be silent in the middle of a request; without a limit, idle connections use up all descriptors.
 * Bun 1.4.5 itself gives a head 12 s from the first byte to the last, however it trickles.
 */
const IDLE_TIMEOUT_SECONDS = 30;
/**
 * Connections that wait for a next request are closed when nobody has asked for anything for so long: closing them takes all at once, and
 * on a busy proxy that meets requests which are just being sent (5 of 35,000 at 16 connections).
 */
const QUIET_MS = 45_000;
/** And after so long on one that is never quiet. */
const BUSY_MS = 600_000;
const LOOK_EVERY_MS = 15_000;
const NO_TIMEOUT = 0;

/** Listens on 127.0.0.1 and forwards; `askedToEnd` is called for each `GET /shutdown` that may pass, with how many exchanges are in flight. Throws UserError. */
export function listen(
  options: Options,
  upstream: Upstream,
  journal: Journal,
  askedToEnd: (inFlight: number) => void,
): Listening {
  const refused = (request: Request, { code, message }: Refusal): Response => {
    if (!isProbe(request)) journal.refuse(request, code);
    return errorResponse(403, code, message);
  };
  let askedAt = performance.now();
  const exchange = (request: Request, server: Bun.Server<undefined>): Response | Promise<Response> => {
    askedAt = performance.now();
    const refusal = refuseExchange(request);
    if (refusal !== undefined) return refused(request, refusal);
    const clock = {
      run: () => server.timeout(request, IDLE_TIMEOUT_SECONDS),
      stop: () => server.timeout(request, NO_TIMEOUT),
    };
    return forward(request, upstream, clock, journal);
  };
  const shutdown = (request: Request): Response => {
    const refusal = options.httpShutdown ? refuseShutdown(request) : ROUTE_REFUSED;
    if (refusal !== undefined) return refused(request, refusal);
    askedToEnd(server.pendingRequests - 1);
    return new Response(null, { status: 200 });
  };
  const server = openServer(options.port, {
    // The route table compares the raw path: /v1/x/../responses and its like, which `request.url` shows resolved, do not match.
    routes: { [ROUTE]: exchange, [SHUTDOWN_ROUTE]: shutdown },
    fetch: (request) => refused(request, ROUTE_REFUSED),
    error: (error) => failedExchange(faultOf(error), journal),
  });
  // Stopping the clock of a request stops that of its connection (Bun 1.4.5): those that wait for a next request are closed here.
  let closedAt = performance.now();
  const closeWaiting = (): void => {
    const now = performance.now();
    if (now - askedAt < QUIET_MS && now - closedAt < BUSY_MS) return;
    closedAt = now;
    server.closeIdleConnections();
  };
  setInterval(closeWaiting, LOOK_EVERY_MS).unref();
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
      // Without this, Bun 1.4.5 sets SO_REUSEPORT when `development` is false: another process could take a share of the requests.
      reusePort: false,
      // The default answers an exception with a page of our source code.
      development: false,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      // The default answers 413 from 128 MB on; what is too large is the upstream's to say.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...handlers,
    });
  } catch (error) {
    throw cannotListen(port, causeOf(error));
  }
}

function cannotListen(port: number, cause: string): UserError {
  const reason = cause in WHY_NOT ? `: ${WHY_NOT[cause]}` : "";
  return new UserError(
    `cannot listen on 127.0.0.1:${port}${reason} (${cause})`,
    undefined,
    hintsFor(port, cause),
  );
}

function hintsFor(port: number, cause: string): string[] {
  if (cause === "EADDRNOTAVAIL")
    return ["give the loopback interface its address: ip addr add 127.0.0.1/8 dev lo"];
  return port === 0 ? [] : ["leave --port out to get a free port, and read it from the --server-info file"];
}

const WHY_NOT: Record<string, string> = {
  EADDRINUSE: "another program has that port",
  EACCES: "an ordinary user may not have that port",
  EADDRNOTAVAIL: "the interface lo does not have that address",
};

async function stop(server: Bun.Server<undefined>, timeoutMs: number): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, timeoutMs);
  await Promise.race([server.stop(), timer.promise]);
  clearTimeout(timeout);
  await server.stop(true);
}
