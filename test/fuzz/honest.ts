// The exchange before and after each case: it must come through unchanged, or the case has disturbed it.

import { type Message, readMessage, show, valuesOf } from "./http.ts";
import { type Arrival, Client } from "./wire.ts";

/** The start of the plainest head that passes. */
export const HEAD = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n";

/** How long to wait for what must come, on a busy machine. */
export const MUST_MS = 10_000;

export class Honest {
  readonly #port: number;
  #client: Client | undefined;
  #count = 0;
  #current = { id: "", body: "", isSeen: false };

  constructor(port: number) {
    this.#port = port;
  }

  /** Whether a request is the current one; nobody else knows its id. */
  owns(request: Message): boolean {
    return this.#current.id !== "" && valuesOf(request, "x-honest").join() === this.#current.id;
  }

  /** Answers as the upstream. */
  answer({ body }: Message, arrival: Arrival): void {
    this.#current.isSeen = body === this.#current.body;
    arrival.send(answerWith(answerTo(this.#current.id), this.#count % 3 === 0));
  }

  /**
   * Runs one exchange on a kept connection. Returns what is wrong with it. `mayBreak`: the case closes connections of
   * the upstream, so the proxy may choose a dead one and tell the client; then the exchange is tried again.
   */
  async exchange({ mayBreak = false } = {}): Promise<string[]> {
    for (let attempt = 0; ; attempt++) {
      const id = `honest-${this.#count++}-${crypto.randomUUID()}`;
      this.#current = { id, body: `${id} asks`, isSeen: false };
      this.#client ??= await Client.open(this.#port).catch(() => undefined);
      const client = this.#client;
      if (client === undefined) return ["the proxy accepts no connection"];
      client.received = "";
      client.send(`${HEAD}X-Honest: ${id}\r\n${framed(this.#current.body, this.#count % 2 === 0)}`);
      const read = () => readMessage(client.received, 0, { isAnswer: true });
      await client.until(() => {
        const reading = read();
        return reading.is === "invalid" || (reading.is === "message" && reading.message.isWhole);
      }, MUST_MS);
      if (isExactly(read(), answerTo(id), client.received) && this.#current.isSeen) return [];
      client.reset();
      this.#client = undefined;
      if (mayBreak && attempt < 5 && client.received.includes('"upstream_broke_off"')) continue;
      const seen = this.#current.isSeen ? "saw it" : "did not see it";
      return [`an honest exchange got ${show(client.received)}, and the upstream ${seen}`];
    }
  }
}

/** Returns an upstream's answer with this body. */
export const answerWith = (body: string, isChunked = false): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n${framed(body, isChunked)}`;

const framed = (body: string, isChunked: boolean): string =>
  isChunked
    ? `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    : `Content-Length: ${body.length}\r\n\r\n${body}`;

const answerTo = (id: string): string => `${id} is answered`;

const isExactly = (reading: ReturnType<typeof readMessage>, body: string, received: string): boolean =>
  reading.is === "message" &&
  reading.message.isWhole &&
  reading.message.body === body &&
  reading.message.end === received.length;
