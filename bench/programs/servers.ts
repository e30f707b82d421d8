// Two upstreams on raw sockets. One holds an event stream open for each request and, when asked, sends an event on all of them. The other
// reads a large body to its end, then sends as many bytes as the request's Answer-Bytes field says.

import { answerQuestions, now } from "./helper.ts";

answerQuestions({
  listen: () => ({ eventPort: listenForStreams(), bulkPort: listenForBulk() }),
  /** Sends `events` events on every stream, each on all at once, and pauses after each. */
  async send({ events, pauseMs }: { events: number; pauseMs: number }) {
    for (let event = 0; event < events; event++) {
      for (const stream of streams) stream.write(chunk(delta()));
      await Bun.sleep(pauseMs);
    }
    return { streams: streams.size };
  },
  /** Ends every stream, whole. */
  finish() {
    for (const stream of streams) stream.end("0\r\n\r\n");
    return {};
  },
  /** Answers when every stream is closed. */
  async untilClosed() {
    while (streams.size > 0) await Bun.sleep(10);
    return {};
  },
});

/** A request so far. Once the head is complete, `unreadBytes` is what is missing of the body. */
class Incoming {
  head = "";
  unreadBytes = NaN;

  receive(bytes: Buffer): void {
    if (Number.isNaN(this.unreadBytes)) {
      this.head += bytes.toString("latin1");
      const end = this.head.indexOf("\r\n\r\n");
      if (end !== -1) this.unreadBytes = this.field("content-length") - (this.head.length - end - 4);
    } else this.unreadBytes -= bytes.length;
  }

  /** Returns the number in a header field, 0 if there is none. */
  field(name: string): number {
    return Number(new RegExp(`^${name}: *(\\d+)`, "im").exec(this.head)?.[1] ?? 0);
  }
}

const STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/** Like OpenAI's, it repeats the instructions of the request. It is longer than the 8 KiB that codex collects before it passes any on. */
const FIRST = `event: response.created\ndata: {"type":"response.created","response":{"instructions":"${"x".repeat(9_000)}"}}\n\n`;
/** The rest of a `response.output_text.delta` event, so that it has the length of a real one. */
const REST = `"type":"response.output_text.delta","item_id":"msg_${"0".repeat(48)}","output_index":0,"content_index":0,"delta":" word","logprobs":[]`;

const streams = new Set<Bun.Socket<Incoming>>();

function listenForStreams(): number {
  return Bun.listen<Incoming>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = new Incoming();
      },
      data(socket, bytes) {
        socket.data.receive(bytes);
        if (socket.data.unreadBytes !== 0) return;
        socket.data = new Incoming();
        streams.add(socket);
        socket.write(STREAM + chunk(FIRST));
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

const PIECE = Buffer.alloc(1 << 18, "x");

type Exchange = { request: Incoming; unsentBytes: number };

function listenForBulk(): number {
  return Bun.listen<Exchange>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { request: new Incoming(), unsentBytes: 0 };
      },
      data(socket, bytes) {
        const { request } = socket.data;
        request.receive(bytes);
        if (request.unreadBytes !== 0) return;
        socket.data = { request: new Incoming(), unsentBytes: request.field("answer-bytes") };
        const type = "Content-Type: application/octet-stream";
        socket.write(`HTTP/1.1 200 OK\r\n${type}\r\nContent-Length: ${socket.data.unsentBytes}\r\n\r\n`);
        fill(socket);
      },
      drain: fill,
      error() {},
    },
  }).port;
}

/** Writes until the kernel takes no more; `drain` continues. */
function fill(socket: Bun.Socket<Exchange>): void {
  while (socket.data.unsentBytes > 0) {
    const written = socket.write(PIECE.subarray(0, Math.min(PIECE.length, socket.data.unsentBytes)));
    if (written <= 0) return;
    socket.data.unsentBytes -= written;
  }
}
