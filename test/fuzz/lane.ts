// A lane: a proxy with its own upstream and clients, which runs one case after the other, each between two honest exchanges.

import { bytesOf, type Case } from "./cases.ts";
import { AUTHORIZATION, Child, hasKey } from "./child.ts";
import { answerWith, HEAD, Honest, MUST_MS } from "./honest.ts";
import { type Message, show, valuesOf } from "./http.ts";
import {
  faultsOfOwn,
  faultsOfPassedOn,
  faultsOfReaching,
  faultsOfRequest,
  isOwn,
  readAnswers,
  statusOf,
} from "./invariants.ts";
import { readRequests, readUpstreamAnswer } from "./reading.ts";
import { type Arrival, Client, StrictUpstream } from "./wire.ts";

/** How long to wait for what need not come. */
const MAY_MS = 1_000;

type Outcome = { faults: string[]; reached: number };

export class Lane {
  readonly #upstream: StrictUpstream;
  #child!: Child;
  #honest!: Honest;
  #port = 0;

  // State of the current case.
  #faults: string[] = [];
  #reached: { request: Message; arrival: Arrival; token: string }[] = [];
  #answering: (arrival: Arrival, token: string) => void = () => {};
  #answersEarly = false;
  /** The id that this case's request has; undefined if its requests are mutated bytes. */
  #id: string | undefined;

  private constructor() {
    this.#upstream = new StrictUpstream({
      head: (request, arrival) => this.#head(request, arrival),
      whole: (request, arrival) => this.#whole(request, arrival),
      nonsense: (why) => this.#faults.push(`upstream got what is no HTTP/1.1: ${why}`),
    });
  }

  /** Starts `command` with its own upstream. */
  static async start(command: readonly string[], flags: readonly string[] = []): Promise<Lane> {
    const lane = new Lane();
    const url = `http://127.0.0.1:${lane.#upstream.port}/v1/responses`;
    const { child, port } = await Child.start([...command, `--upstream-url=${url}`, ...flags]);
    lane.#child = child;
    lane.#port = port;
    lane.#honest = new Honest(port);
    const faults = await lane.#honest.exchange();
    if (faults.length === 0) return lane;
    await lane.close();
    throw new Error(`the first exchange failed: ${faults.join("; ")}\n${child.stderr}`);
  }

  get hasEnded(): boolean {
    return this.#child.end !== undefined;
  }

  async close(): Promise<void> {
    await this.#child.kill();
    this.#upstream.stop();
  }

  async run(it: Case): Promise<Outcome> {
    this.#faults = [];
    this.#reached = [];
    try {
      if (it.kind === "request") await this.#runRequest(it);
      else await this.#runAnswer(it);
      await this.#exchangeHonestly(it.ending !== "stay");
    } catch (error) {
      this.#faults.push(`the proxy accepts no connection (${error})`);
    }
    if (hasKey(this.#child.stderr)) this.#faults.push("the key is on standard error");
    if (this.#faults.length > 0) await this.#child.perhapsEnded();
    const { end, stderr } = this.#child;
    if (end !== undefined) this.#faults.unshift(`the proxy has ended (${end}): ${show(stderr.slice(-200))}`);
    return { faults: this.#faults, reached: this.#reached.length };
  }

  /** Sends mutated bytes as a client; the upstream answers each request with a token of its own. */
  async #runRequest(it: Case): Promise<void> {
    this.#answersEarly = false;
    this.#id = undefined;
    this.#answering = (arrival, token) => arrival.send(answerWith(token));
    const { wanted, rest } = readRequests(bytesOf(it));
    const client = await Client.open(this.#port);
    await sendAll(it, client);
    if (it.ending === "end") client.end();
    if (it.ending === "reset") client.reset();
    const methods = wanted.map(({ method }) => method);
    const answers = () => readAnswers(client.received, client.isClosed, methods);
    const whole = wanted.filter(({ isWhole }) => isWhole).length;
    await client.until(() => answers().final.filter(({ isWhole }) => isWhole).length >= whole, MAY_MS);
    // Once an exchange that began later is over, the proxy has read what this client has sent.
    if (rest) await this.#exchangeHonestly();
    client.reset();
    if (!(await this.#upstream.hasSettled(MUST_MS)))
      this.#faults.push("the client left, and the request to the upstream goes on");
    const { final, faults } = answers();
    this.#faults.push(
      ...faults,
      ...faultsOfReaching(
        wanted,
        this.#reached.map(({ request }) => request),
      ),
    );
    this.#checkKey(client);
    // Each answer is the proxy's own, or the one to the next request that reached the upstream.
    const tokens = this.#reached.map(({ token }) => token);
    for (const [i, answer] of final.entries()) {
      if (!/tok-/.test(answer.body)) {
        if (statusOf(answer) !== 200 || answer.isWhole) this.#faults.push(...faultsOfOwn(answer, methods[i]));
      } else if (answer.body !== tokens.shift() && answer.isWhole)
        this.#faults.push(`client got the answer to another request: ${show(answer.body)}`);
    }
  }

  /** Sends mutated bytes as the upstream, to a plain request or to one of which half is never sent. */
  async #runAnswer(it: Case): Promise<void> {
    const sent = readUpstreamAnswer(bytesOf(it));
    const isWhole = sent.is === "message" && sent.message.isWhole;
    const writes = isWhole ? withEndInOneWrite(it.writes, sent.message.end) : it.writes;
    const client = await Client.open(this.#port);
    const done = (): boolean =>
      readAnswers(client.received, client.isClosed).final.some((answer) => answer.isWhole);
    const written = Promise.withResolvers<Arrival | undefined>();
    this.#answersEarly = it.kind === "early";
    this.#id = crypto.randomUUID();
    let isTaken = false;
    this.#answering = async (arrival) => {
      if (isTaken) return;
      isTaken = true;
      for (const [i, write] of writes.entries()) {
        if (i > 0) await tick();
        if (!done()) arrival.send(write);
      }
      if (it.ending === "end") arrival.end();
      if (it.ending === "reset") arrival.reset();
      written.resolve(arrival);
    };
    const body =
      it.kind === "early" ? "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" : "Content-Length: 2\r\n\r\nhi";
    client.send(`${HEAD}X-Case: ${this.#id}\r\n${body}`);
    const late = setTimeout(() => written.resolve(undefined), MUST_MS);
    const arrival = await written.promise;
    clearTimeout(late);
    if ((!isWhole || sent.message.fault !== undefined) && it.ending === "stay") {
      // No answer need come: the proxy reads these bytes, and then the upstream leaves.
      await this.#exchangeHonestly();
      arrival?.reset();
    }
    if (arrival === undefined) this.#faults.push("a plain request did not reach the upstream");
    else if (!(await client.until(done, MUST_MS)))
      this.#faults.push("the client waits, though the upstream has answered or left");
    const { final, faults } = readAnswers(client.received, client.isClosed);
    client.reset();
    if (!(await this.#upstream.hasSettled(MUST_MS)))
      this.#faults.push("the client left, and the request to the upstream goes on");
    this.#faults.push(...faults);
    this.#checkKey(client);
    if (this.#reached.length > 1) this.#faults.push(`upstream got ${this.#reached.length} requests for one`);
    if (final.length > 1) this.#faults.push(`client got ${final.length} answers to one request`);
    for (const answer of final)
      this.#faults.push(...(isOwn(answer) ? faultsOfOwn(answer) : faultsOfPassedOn(answer, sent)));
  }

  #checkKey(client: Client): void {
    if (hasKey(client.received)) this.#faults.push("the key is in an answer");
  }

  async #exchangeHonestly(mayBreak = false): Promise<void> {
    this.#faults.push(...(await this.#honest.exchange({ mayBreak })));
  }

  #head(request: Message, arrival: Arrival): void {
    const host = `127.0.0.1:${this.#upstream.port}`;
    this.#faults.push(...faultsOfRequest(request, AUTHORIZATION, host));
    if (this.#honest.owns(request) || this.#isLate(request)) return;
    const token = `tok-${crypto.randomUUID()}`;
    this.#reached.push({ request, arrival, token });
    if (this.#answersEarly) this.#answering(arrival, token);
  }

  #whole(request: Message, arrival: Arrival): void {
    if (this.#honest.owns(request)) {
      this.#honest.answer(request, arrival);
      return;
    }
    if (this.#isLate(request)) {
      arrival.send(answerWith("late"));
      return;
    }
    const one = this.#reached.findLast((reached) => reached.arrival === arrival)!;
    one.request = request;
    if (!this.#answersEarly) this.#answering(arrival, one.token);
  }

  /** Whether an earlier case's client sent it, and left: on a busy machine it may come after that case. */
  #isLate(request: Message): boolean {
    return this.#id !== undefined && valuesOf(request, "x-case").join() !== this.#id;
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function sendAll({ writes }: Case, client: Client): Promise<void> {
  for (const [i, write] of writes.entries()) {
    if (i > 0) await tick();
    client.send(write);
  }
}

/**
 * Sends surplus bytes in one write with the answer's last byte. The proxy promises to close the connection then, or to
 * drop the surplus (after chunks). If surplus came a moment later, the proxy could already have used the connection for
 * the next request, and HTTP/1.1 could not tell it from that request's answer. Neither the proxy nor nginx 1.22 with
 * kept connections prevents that. A connection for each exchange would, at five times the processor time over TLS.
 */
function withEndInOneWrite(writes: readonly string[], end: number): string[] {
  const before: string[] = [];
  let length = 0;
  for (const [i, write] of writes.entries()) {
    if (length + write.length >= end) return [...before, writes.slice(i).join("")];
    before.push(write);
    length += write.length;
  }
  return before;
}
