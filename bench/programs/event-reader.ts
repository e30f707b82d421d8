// A client that opens event streams and measures how late their events are.

import { readFileSync } from "node:fs";

import { answerQuestions, now } from "./helper.ts";

const BODY = `{"model":"gpt-5","stream":true,"input":"${"x".repeat(1959)}"}`;
/** So many streams are opened at the same time, unless opening them is what is measured. */
const BATCH = 32;
/** codex sometimes leaves one of them without a response: after that time others are opened, so many times. */
const STALL_MS = 500;
const MAX_STALLS = 10;
const STAMP = '"at":';

const STALLED = Symbol("stalled");

type State = { unread: string; opened: () => void; failed: (reason: string) => void };
const streams = new Set<Bun.Socket<State>>();
const unanswered = new Set<Bun.Socket<State>>();
let finished = 0;
let delaysMs: number[] = [];
let expected = Infinity;
let complete = Promise.withResolvers<void>();

type Place = { url: string; headers: Record<string, string>; caFile: string };

answerQuestions({
  /** Opens streams, a batch at a time, until `count` have begun. Answers how many have, which may be some more. */
  async open({ count, ...place }: Place & { count: number }) {
    for (let stalls = 0; streams.size < count;) {
      const batch = Array.from({ length: Math.min(BATCH, count - streams.size) }, () => open(place));
      const hasStalled = await Promise.race([Promise.all(batch), Bun.sleep(STALL_MS).then(() => STALLED)]);
      if (hasStalled === STALLED && ++stalls > MAX_STALLS)
        throw new Error("streams are left without a response");
    }
    return { streams: streams.size };
  },
  /** Opens `count` streams at once. Answers the time until the first byte of a stream's body, or `patienceMs` if none came. */
  async openAtOnce({ count, patienceMs, ...place }: Place & { count: number; patienceMs: number }) {
    const started = now();
    const times = await Promise.all(
      Array.from({ length: count }, async () => {
        await Promise.race([open(place), Bun.sleep(patienceMs)]);
        return now() - started;
      }),
    );
    return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
  },
  /** Forgets the events so far. */
  expect({ events }: { events: number }) {
    delaysMs = [];
    expected = events;
    complete = Promise.withResolvers();
    return {};
  },
  /** Answers how late the expected events were when all are there, or only how many are missing after `patienceMs`. */
  async delays({ patienceMs }: { patienceMs: number }) {
    await Promise.race([complete.promise, Bun.sleep(patienceMs)]);
    const missing = expected - delaysMs.length;
    if (missing > 0) return { missing };
    return { missing, p50Ms: percentile(delaysMs, 0.5), p99Ms: percentile(delaysMs, 0.99) };
  },
  /** Answers when every stream that has begun is whole, or after `patienceMs`. */
  async untilFinished({ patienceMs }: { patienceMs: number }) {
    for (const end = now() + patienceMs; finished < streams.size && now() < end;) await Bun.sleep(10);
    return {};
  },
  /** Breaks all streams off. */
  close() {
    for (const socket of [...streams, ...unanswered]) socket.terminate();
    streams.clear();
    unanswered.clear();
    finished = 0;
    return {};
  },
});

function open({ url, headers, caFile }: Place): Promise<void> {
  const { protocol, hostname, port, pathname, host } = new URL(url);
  const opened = Promise.withResolvers<void>();
  const fields = { "Content-Type": "application/json", Accept: "text/event-stream", ...headers };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\n${lines.join("")}`;
  const failed = (reason: string) => opened.reject(new Error(reason));
  Bun.connect<State>({
    hostname,
    port: Number(port),
    ...(protocol === "https:" ? { tls: { ca: readFileSync(caFile, "utf8") } } : {}),
    data: { unread: "", opened: opened.resolve, failed },
    socket: {
      open(socket) {
        unanswered.add(socket);
        socket.write(`${head}Content-Length: ${BODY.length}\r\n\r\n${BODY}`);
      },
      data: read,
      close(socket) {
        if (!unanswered.delete(socket)) streams.delete(socket);
        failed("the stream ended before its first byte");
      },
      error: (_socket, error) => failed(error.message),
      connectError: (_socket, error) => failed(error.message),
    },
  }).catch((error: Error) => failed(error.message));
  return opened.promise;
}

function read(socket: Bun.Socket<State>, bytes: Buffer): void {
  const arrived = now();
  const { data: state } = socket;
  const text = state.unread + bytes.toString("latin1");
  if (!streams.has(socket)) {
    if (/^HTTP\/1\.1 [^2]/.test(text)) state.failed(`a stream is answered with ${text.split("\r\n")[0]}`);
    if (!/^HTTP\/1\.1 200[^]*?\r\n\r\n[^]/.test(text)) return void (state.unread = text);
    unanswered.delete(socket);
    streams.add(socket);
    state.opened();
  }
  if (text.endsWith("\r\n0\r\n\r\n")) finished++;
  let from = 0;
  for (let at = text.indexOf(STAMP); at !== -1; at = text.indexOf(STAMP, from)) {
    const end = text.indexOf("\n\n", at);
    if (end === -1) break;
    delaysMs.push(arrived - Number.parseFloat(text.slice(at + STAMP.length, at + 32)));
    if (delaysMs.length === expected) complete.resolve();
    from = end + 2;
  }
  // The beginning of an event that is not complete yet; no event is longer than that.
  state.unread = text.slice(Math.max(from, text.length - 1_000));
}

/** Returns the value that `fraction` of the values do not exceed. */
function percentile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(fraction * sorted.length) - 1)]!;
}
