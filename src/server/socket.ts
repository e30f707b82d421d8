// --socket: a Unix socket in place of a TCP port. It is bound before the filter, which allows no more sockets of that kind, and published when the
// proxy serves. A new proxy takes the path over while the old one still drains.

import { socketPlace } from "../files/places.ts";
import { PublishedFile } from "../files/published.ts";
import { errorResponse } from "../proxy/error-response.ts";
import {
  type Connection,
  type Handlers,
  IDLE_TIMEOUT_SECONDS,
  openServer,
  type Server,
} from "./bun-serve.ts";

export class SocketListener {
  readonly server: Server;
  readonly file: PublishedFile;
  #handlers: Handlers | undefined;

  /** Binds under a name that nobody knows, with the mode and the group given. Throws UserError. */
  constructor(path: string, access: { mode: number; gid: number | undefined }) {
    let server: Server | undefined;
    this.file = PublishedFile.create(
      socketPlace(path),
      (directory, temporary) => {
        // By the open directory: the path may be as long as a socket's can be, and the directory cannot be exchanged meanwhile.
        server = openServer({ unix: directory.pathOf(temporary) }, this.#deferred());
      },
      access,
    );
    this.server = server!;
  }

  /** Serves from now on, and lets clients find the socket. Throws UserError. */
  publish(handlers: Handlers): void {
    this.#handlers = handlers;
    this.file.publish();
  }

  #deferred(): Handlers {
    const notYet = (): Response =>
      errorResponse(503, "busy", "the proxy is starting; try again later", { "retry-after": "1" });
    return {
      onResponses: (request) =>
        this.#handlers === undefined ? notYet() : withClock(request, this.#handlers.onResponses),
      onShutdown: (request, server) => this.#handlers?.onShutdown(request, server) ?? notYet(),
      onOther: (request) => this.#handlers?.onOther(request) ?? notYet(),
      onError: (error) => this.#handlers?.onError(error) ?? notYet(),
    };
  }
}

/**
 * Has the request answered as one on TCP, with a clock for the client's silence that is not Bun's: server.timeout() does nothing for a Unix
 * socket (Bun 1.4.5). When the clock has run out, the exchange ends as if the client had left.
 */
async function withClock(request: Request, answer: Handlers["onResponses"]): Promise<Response> {
  const silence = new AbortController();
  const brokenOff = Promise.withResolvers<Response>();
  let clock: Timer | undefined;
  let isForwarded = false;
  const runOut = (): void => {
    silence.abort();
    brokenOff.resolve(new Response(null, { status: 408, headers: { connection: "close" } }));
  };
  const setClock = (seconds: number): void => {
    clearTimeout(clock);
    if (seconds > 0) clock = setTimeout(runOut, 1000 * seconds);
  };
  const timeout: Connection["timeout"] = (_request, seconds) => {
    isForwarded = true;
    setClock(seconds);
  };
  const { signal } = request;
  Object.defineProperty(request, "signal", { value: AbortSignal.any([signal, silence.signal]) });
  setClock(IDLE_TIMEOUT_SECONDS);
  try {
    return await Promise.race([
      answer(request, { port: undefined, requestIP: () => null, timeout }),
      brokenOff.promise,
    ]);
  } finally {
    // An answer can come before the upload is over: then the clock runs on while the proxy waits for the rest of it.
    if (!isForwarded) clearTimeout(clock);
  }
}
