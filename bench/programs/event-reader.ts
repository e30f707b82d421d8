// A client that opens event streams and says how late their events are.

import { readFileSync } from "node:fs";

import { percentile } from "../rounds.ts";
import { answerQuestions, now } from "./answering.ts";

const BODY = `{"model":"gpt-5","stream":true,"input":"${"x".repeat(1959)}"}`;
/** Streams opened at the same time where it is not about opening: fewer than a listen(2) queue is long. */
const BATCH = 100;
const STAMP = '"at":';

type State = { unread: string; opened: () => void };
const streams = new Set<Bun.Socket<State>>();
let delaysMs: number[] = [];
let expected = Infinity;
let complete = Promise.withResolvers<void>();
let broken = 0;

type Place = { url: string; caFile: string };

answerQuestions({
  /** Opens streams until there are `count`, a batch at a time; answers once each has had its first event. */
  async open({ count, ...place }: Place & { count: number }) {
    while (streams.size < count) {
      const batch = Math.min(BATCH, count - streams.size);
      await Promise.all(Array.from({ length: batch }, () => open(place)));
    }
    return {};
  },
  /** Opens `count` streams at once; answers how long after that the first event of a stream came. */
  async openAtOnce({ count, ...place }: Place & { count: number }) {
    const started = now();
    const times = await Promise.all(
      Array.from({ length: count }, async () => {
        await open(place);
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
  /** Answers how late the expected events were, once all are there. */
  async delays() {
    await complete.promise;
    return { p50Ms: percentile(delaysMs, 0.5), p99Ms: percentile(delaysMs, 0.99) };
  },
  /** Breaks all streams off; says how many the other side had ended before. */
  close() {
    const ended = broken;
    for (const socket of streams) socket.terminate();
    streams.clear();
    broken = 0;
    return { ended };
  },
});

function open({ url, caFile }: Place): Promise<void> {
  const { protocol, hostname, port, pathname, host } = new URL(url);
  const opened = Promise.withResolvers<void>();
  const head = `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n`;
  const failed = (reason: string) => opened.reject(new Error(reason));
  Bun.connect<State>({
    hostname,
    port: Number(port),
    ...(protocol === "https:" ? { tls: { ca: readFileSync(caFile, "utf8") } } : {}),
    data: { unread: "", opened: opened.resolve },
    socket: {
      open: (socket) => void socket.write(`${head}Content-Length: ${BODY.length}\r\n\r\n${BODY}`),
      data: read,
      close(socket) {
        if (streams.delete(socket)) broken++;
        failed("the stream ended before its first event");
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
  let text = state.unread + bytes.toString("latin1");
  if (!streams.has(socket)) {
    const first = text.indexOf("\n\n");
    if (first === -1) return void (state.unread = text);
    if (!text.startsWith("HTTP/1.1 200")) return;
    streams.add(socket);
    state.opened();
    text = text.slice(first + 2);
  }
  let from = 0;
  for (let at = text.indexOf(STAMP); at !== -1; at = text.indexOf(STAMP, from)) {
    const end = text.indexOf("\n\n", at);
    if (end === -1) break;
    delaysMs.push(arrived - Number.parseFloat(text.slice(at + STAMP.length, at + 32)));
    if (delaysMs.length === expected) complete.resolve();
    from = end + 2;
  }
  // An event that is not whole yet, or the end of one.
  state.unread = text.slice(from);
}
