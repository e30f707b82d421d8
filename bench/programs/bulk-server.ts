// An upstream for large bodies: it reads a request's to the end, then answers with as many bytes as the request's Answer-Bytes asks for.

import { answerQuestions } from "./answering.ts";
import { parseHead } from "./requests.ts";

const PIECE = Buffer.alloc(1 << 18, "x");

type State = { head: string; bodyBytesLeft: number; answerBytesLeft: number };

answerQuestions({ listen: () => ({ port: listen() }) });

function listen(): number {
  return Bun.listen<State>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { head: "", bodyBytesLeft: NaN, answerBytesLeft: 0 };
      },
      data(socket, bytes) {
        receive(socket.data, bytes);
        if (socket.data.bodyBytesLeft === 0) answer(socket);
      },
      drain: fill,
      error() {},
    },
  }).port;
}

function receive(state: State, bytes: Buffer): void {
  if (!Number.isNaN(state.bodyBytesLeft)) {
    state.bodyBytesLeft -= bytes.length;
    return;
  }
  state.head += bytes.toString("latin1");
  const request = parseHead(state.head);
  if (request === undefined) return;
  state.answerBytesLeft = Number(/^answer-bytes: *(\d+)/im.exec(request.head)?.[1] ?? 0);
  state.bodyBytesLeft = request.bodyBytes - request.bodyBytesThere;
}

function answer(socket: Bun.Socket<State>): void {
  const { data } = socket;
  data.head = "";
  data.bodyBytesLeft = NaN;
  socket.write(
    `HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${data.answerBytesLeft}\r\n\r\n`,
  );
  fill(socket);
}

/** Writes until the kernel takes no more; `drain` goes on from there. */
function fill(socket: Bun.Socket<State>): void {
  while (socket.data.answerBytesLeft > 0) {
    const written = socket.write(PIECE.subarray(0, Math.min(PIECE.length, socket.data.answerBytesLeft)));
    if (written <= 0) return;
    socket.data.answerBytesLeft -= written;
  }
}
