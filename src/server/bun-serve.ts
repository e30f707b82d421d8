// Bun.serve, with the settings that every listener has, and how serving ends.

import { causeOf } from "../base/errors.ts";
import { cannotListen } from "../input/listening.ts";
import { ROUTE, SHUTDOWN_ROUTE } from "../proxy/policy.ts";

export type Server = Bun.Server<undefined>;

/** What a handler asks of the server that its request came to. A Unix socket has no port and no addresses. */
export type Connection = Pick<Server, "port" | "requestIP" | "timeout">;

/** What is called for each request: by route, for all others, and for what a handler throws. */
export type Handlers = {
  onResponses: (request: Request, connection: Connection) => Response | Promise<Response>;
  onShutdown: (request: Request, connection: Connection) => Response;
  onOther: (request: Request) => Response;
  onError: (error: Error) => Response;
};

/** How long a client may be silent in the middle of a request. Without a limit, idle connections would use up all descriptors. */
export const IDLE_TIMEOUT_SECONDS = 30;

/** Listens on 127.0.0.1:port, or on a Unix socket. Throws UserError for a port; what Bun throws for a socket. */
export function openServer(where: { port: number } | { unix: string }, handlers: Handlers): Server {
  try {
    const options = {
      ...("unix" in where ? { unix: where.unix } : { hostname: "127.0.0.1", port: where.port, ...EXCLUSIVE }),
      // The default answers an exception with a page of source code.
      development: false,
      // A Unix socket's could not be stopped while the upstream is silent (socket.ts).
      idleTimeout: "unix" in where ? 0 : IDLE_TIMEOUT_SECONDS,
      // The default is 128 MB; the upstream decides what is too large.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // The route table compares the raw path, so /v1/x/../responses does not match; `request.url` shows it resolved.
      routes: { [ROUTE]: handlers.onResponses, [SHUTDOWN_ROUTE]: handlers.onShutdown },
      fetch: handlers.onOther,
      error: handlers.onError,
    };
    // The types forbid idleTimeout for a Unix socket, where it works as well, with a default of 10 s (Bun 1.4.5).
    return Bun.serve(options as Bun.Serve.Options<undefined>);
  } catch (error) {
    if ("unix" in where) throw error;
    throw cannotListen(where.port, causeOf(error));
  }
}

/** Bun 1.4.5 otherwise sets SO_REUSEPORT if `development` is false: another process could take a share of the requests. */
const EXCLUSIVE = { reusePort: false };

/** Stops accepting at once, waits at most `timeoutMs` for exchanges in flight, then calls `cutOff` and breaks off what is left of them. */
export async function stopServer(server: Server, timeoutMs: number, cutOff: () => void): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, timeoutMs);
  await acceptQueued();
  await Promise.race([server.stop(), timer.promise]);
  clearTimeout(timeout);
  if (server.pendingRequests > 0) cutOff();
  await server.stop(true);
}

/**
 * Has the event loop accept the connections that wait in the listener's queue: closing it would reset them, although another proxy may have
 * taken the socket over by now, so that nobody need lose a request.
 */
async function acceptQueued(): Promise<void> {
  await Bun.sleep(0);
}
