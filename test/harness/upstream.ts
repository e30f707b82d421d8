// A stand-in upstream on raw sockets, TLS or plain: it keeps every byte it receives and answers with the bytes it is given.

import type { Certificate } from "./certificates.ts";
import { atEnd } from "./cleanup.ts";
import { parseHead, unchunk } from "./wire.ts";

/** One request as it stood on the wire. */
export type Received = { first: string; fields: [name: string, value: string][]; body: string };

/** The upstream's side of a connection, for answers in several steps. */
export type Connection = {
  write: (bytes: string) => void;
  /** Closes the connection (FIN). */
  end: () => void;
  /** Resets the connection (RST). */
  reset: () => void;
};

type Answering = string | ((connection: Connection, request: Received) => void);

export const OK = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

export class RawUpstream {
  readonly requests: Received[] = [];
  /** Bytes received on all connections, of whole requests or not. */
  bytesReceived = 0;
  connections = 0;
  /** Called each time the proxy closes a connection. */
  onClose: () => void = () => {};
  readonly #listener: Bun.TCPSocketListener<State>;
  readonly #secure: boolean;
  answer: Answering;

  constructor({ tls, answer = OK }: { tls?: Certificate; answer?: Answering } = {}) {
    this.answer = answer;
    this.#secure = tls !== undefined;
    this.#listener = Bun.listen<State>({
      hostname: "127.0.0.1",
      port: 0,
      ...(tls === undefined ? {} : { tls }),
      socket: {
        open: (socket) => {
          this.connections++;
          socket.data = { received: "", continued: false };
        },
        data: (socket, bytes) => this.#receive(socket, bytes.toString("latin1")),
        close: () => this.onClose(),
        error: () => {},
      },
    });
    atEnd(() => this.#listener.stop(true));
  }

  get url(): string {
    return `${this.#secure ? "https" : "http"}://${this.#secure ? "localhost" : "127.0.0.1"}:${this.port}/v1/responses`;
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Stops listening and resets open connections. */
  stop(): void {
    this.#listener.stop(true);
  }

  #receive(socket: Bun.Socket<State>, bytes: string): void {
    this.bytesReceived += bytes.length;
    socket.data.received += bytes;
    for (;;) {
      const whole = takeRequest(socket.data.received);
      if (whole === undefined) return;
      socket.data.received = whole.rest;
      this.requests.push(whole.request);
      const connection: Connection = {
        write: (text) => void socket.write(Buffer.from(text, "latin1")),
        end: () => void socket.end(),
        reset: () => void socket.terminate(),
      };
      if (typeof this.answer === "string") connection.write(this.answer);
      else this.answer(connection, whole.request);
    }
  }
}

type State = { received: string; continued: boolean };

/** Returns the first whole request in `received`, and the bytes after it. */
function takeRequest(received: string): { request: Received; rest: string } | undefined {
  const end = received.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = parseHead(received.slice(0, end));
  const after = received.slice(end + 4);
  const length = Number(head.fields.find(([name]) => name === "content-length")?.[1] ?? 0);
  if (head.fields.some(([name]) => name === "transfer-encoding")) {
    const stop = /(^|\r\n)0\r\n\r\n/.exec(after);
    if (stop === null) return undefined;
    const wire = after.slice(0, stop.index + stop[0].length);
    return { request: { ...head, body: unchunk(wire) }, rest: after.slice(wire.length) };
  }
  if (after.length < length) return undefined;
  return { request: { ...head, body: after.slice(0, length) }, rest: after.slice(length) };
}
