// An upstream that holds an event stream open for every request, and when asked sends an event on each, stamped with the time.

import { answerQuestions, now } from "./answering.ts";
import { parseHead } from "./requests.ts";

const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/** As the real one, it repeats the request's instructions; and it is longer than the 8 KiB that codex waits for before it passes any on. */
const FIRST = `event: response.created\ndata: {"type":"response.created","response":{"instructions":"${"x".repeat(9_000)}"}}\n\n`;
/** What a `response.output_text.delta` event carries besides, so that one has the length of a real one. */
const REST = `"type":"response.output_text.delta","item_id":"msg_${"0".repeat(48)}","output_index":0,"content_index":0,"delta":" word","logprobs":[]`;

type State = { received: string };
const streams = new Set<Bun.Socket<State>>();

answerQuestions({
  listen: () => ({ port: listen() }),
  /** Sends `events` events on every stream, on all at once each time, and a pause after each. */
  async send({ events, pauseMs }: { events: number; pauseMs: number }) {
    for (let event = 0; event < events; event++) {
      for (const stream of streams) stream.write(chunk(delta()));
      await Bun.sleep(pauseMs);
    }
    return { streams: streams.size };
  },
  /** Answers once every stream is closed. */
  async untilClosed() {
    while (streams.size > 0) await Bun.sleep(10);
    return {};
  },
});

function listen(): number {
  return Bun.listen<State>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { received: "" };
      },
      data(socket, bytes) {
        socket.data.received += bytes.toString("latin1");
        const request = parseHead(socket.data.received);
        if (request === undefined || request.bodyBytesThere < request.bodyBytes) return;
        socket.data.received = "";
        streams.add(socket);
        socket.write(HEAD + chunk(FIRST));
      },
      close: (socket) => void streams.delete(socket),
      error: (socket) => void streams.delete(socket),
    },
  }).port;
}

function delta(): string {
  return `event: response.output_text.delta\ndata: {"at":${now().toFixed(3)},${REST}}\n\n`;
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}
