// The raw connections at both ends of the proxy: a client's, and those of an upstream that accepts strict HTTP/1.1 only.

import { type Message, readMessage } from "./http.ts";

type Sending = { unsent: Buffer<ArrayBufferLike> };

/** Writes all bytes, now or when the kernel has room. */
function send(socket: Bun.Socket<Sending>, bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0)): void {
  const all = socket.data.unsent.length === 0 ? bytes : Buffer.concat([socket.data.unsent, bytes]);
  if (all.length === 0) return;
  const written = Math.max(0, socket.write(all));
  socket.data.unsent = written < all.length ? all.subarray(written) : Buffer.alloc(0);
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** A client's connection to the proxy. */
export class Client {
  received = "";
  isClosed = false;
  #socket!: Bun.Socket<Sending>;
  #changed = Promise.withResolvers<void>();

  static async open(port: number): Promise<Client> {
    const client = new Client();
    const change = (): void => {
      client.#changed.resolve();
      client.#changed = Promise.withResolvers();
    };
    const close = (): void => {
      client.isClosed = true;
      change();
    };
    client.#socket = await Bun.connect<Sending>({
      hostname: "127.0.0.1",
      port,
      data: { unsent: Buffer.alloc(0) },
      socket: {
        data: (_socket, bytes) => {
          client.received += bytes.toString("latin1");
          change();
        },
        drain: (socket) => send(socket),
        end: close,
        close,
        error: close,
      },
    });
    client.#socket.setNoDelay(true);
    return client;
  }

  send(text: string): void {
    if (!this.isClosed) send(this.#socket, latin1(text));
  }

  /** Sends a FIN and goes on reading. */
  end(): void {
    if (!this.isClosed) this.#socket.shutdown();
  }

  /** Resets the connection (RST). */
  reset(): void {
    this.#socket.terminate();
  }

  /** Waits until `holds` returns true or the connection is closed. Returns false if neither happens in time. */
  async until(holds: () => boolean, milliseconds: number): Promise<boolean> {
    return waitUntil(
      () => holds() || this.isClosed,
      () => this.#changed.promise,
      milliseconds,
    );
  }
}

async function waitUntil(
  holds: () => boolean,
  change: () => Promise<void>,
  milliseconds: number,
): Promise<boolean> {
  if (holds()) return true;
  const late = Promise.withResolvers<void>();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    late.resolve();
  }, milliseconds);
  while (!holds() && !isLate) await Promise.race([change(), late.promise]);
  clearTimeout(timer);
  return holds();
}

/** A connection from the proxy to the upstream. */
export class Arrival {
  received = "";
  isClosed = false;
  /** Whether a request has begun and is incomplete. */
  isPartial = false;
  /** Whether `head` has been called for it. */
  headSeen = false;

  constructor(readonly socket: Bun.Socket<Sending & { arrival?: Arrival }>) {}

  send(text: string): void {
    if (!this.isClosed) send(this.socket, latin1(text));
  }

  end(): void {
    if (!this.isClosed) this.socket.end();
  }

  reset(): void {
    if (!this.isClosed) this.socket.terminate();
  }
}

type Hearing = {
  /** Called when a request's head is complete. */
  head: (request: Message, arrival: Arrival) => void;
  /** Called when a request is complete. */
  whole: (request: Message, arrival: Arrival) => void;
  /** Called for bytes that are not an HTTP/1.1 request. */
  nonsense: (why: string) => void;
};

export class StrictUpstream {
  readonly #listener: Bun.TCPSocketListener<Sending & { arrival?: Arrival }>;
  readonly #arrivals = new Set<Arrival>();
  #changed = Promise.withResolvers<void>();

  constructor(hearing: Hearing) {
    const change = (): void => {
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    const close = (socket: Bun.Socket<Sending & { arrival?: Arrival }>): void => {
      const arrival = socket.data?.arrival;
      if (arrival === undefined) return;
      arrival.isClosed = true;
      this.#arrivals.delete(arrival);
      change();
    };
    this.#listener = Bun.listen<Sending & { arrival?: Arrival }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          const arrival = new Arrival(socket);
          socket.data = { unsent: Buffer.alloc(0), arrival };
          socket.setNoDelay(true);
          this.#arrivals.add(arrival);
        },
        data: (socket, bytes) => {
          const arrival = socket.data.arrival!;
          arrival.received += bytes.toString("latin1");
          hear(arrival, hearing);
          change();
        },
        drain: (socket) => send(socket),
        close,
        error: close,
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Waits until no connection is in the middle of a request. Returns false if that takes too long. */
  async hasSettled(milliseconds: number): Promise<boolean> {
    const settled = (): boolean => [...this.#arrivals].every(({ isPartial }) => !isPartial);
    return waitUntil(settled, () => this.#changed.promise, milliseconds);
  }

  stop(): void {
    this.#listener.stop(true);
  }
}

function hear(arrival: Arrival, hearing: Hearing): void {
  while (arrival.received !== "") {
    const reading = readMessage(arrival.received, 0);
    const why =
      reading.is === "invalid" ? reading.why : reading.is === "message" ? reading.message.fault : undefined;
    if (why !== undefined) {
      hearing.nonsense(why);
      arrival.received = "";
      arrival.isPartial = false;
      arrival.reset();
      return;
    }
    arrival.isPartial = reading.is !== "message" || !reading.message.isWhole;
    if (reading.is !== "message") return;
    if (!arrival.headSeen) hearing.head(reading.message, arrival);
    arrival.headSeen = true;
    if (!reading.message.isWhole) return;
    arrival.headSeen = false;
    arrival.received = arrival.received.slice(reading.message.end);
    hearing.whole(reading.message, arrival);
  }
}
