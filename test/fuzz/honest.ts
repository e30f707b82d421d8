// The exchange before and after each case: what goes up and what comes down is its own, or the case has done something to it.

import { type Message, readMessage, show, valuesOf } from "./http.ts";
import { type Arrival, Client } from "./wire.ts";

/** The plainest head that passes, to be gone on with. */
export const HEAD = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n";

/** For what must come, on a machine that is busy. */
export const MUST_MS = 10_000;

export class Honest {
  readonly #port: number;
  #client: Client | undefined;
  #count = 0;
  #current = { id: "", body: "", isSeen: false };

  constructor(port: number) {
    this.#port = port;
  }

  /** Whether a request is the one that runs; nobody else knows its id. */
  owns(request: Message): boolean {
    return this.#current.id !== "" && valuesOf(request, "x-honest").join() === this.#current.id;
  }

  /** The upstream's part. */
  answer({ body }: Message, arrival: Arrival): void {
    this.#current.isSeen = body === this.#current.body;
    arrival.send(answerWith(answerTo(this.#current.id), this.#count % 3 === 0));
  }

  /**
   * One exchange, on a connection that is kept; what is wrong with it. `mayBreak`: the upstream closes connections, one of which the proxy
   * may have chosen for it, and that is told to the client.
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

/** An answer of the upstream's with this body. */
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
