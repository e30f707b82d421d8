// A client for large bodies, either way: as fast as the other side takes and gives them.

const PIECE = Buffer.alloc(1 << 18, "x");

/** Sends a body of `uploadBytes`, asks for an answer of `answerBytes`, and resolves with the seconds until all of it is there. */
export function transfer(url: string, uploadBytes: number, answerBytes: number): Promise<number> {
  const { hostname, port, pathname, host } = new URL(url);
  const done = Promise.withResolvers<number>();
  const started = performance.now();
  let unsent = uploadBytes;
  let received = 0;
  let status = "";
  const send = (socket: Bun.Socket): void => {
    while (unsent > 0) {
      const written = socket.write(PIECE.subarray(0, Math.min(PIECE.length, unsent)));
      if (written <= 0) return;
      unsent -= written;
    }
  };
  Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open(socket) {
        socket.write(
          `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\nAnswer-Bytes: ${answerBytes}\r\nContent-Length: ${uploadBytes}\r\n\r\n`,
        );
        send(socket);
      },
      drain: send,
      data(socket, bytes) {
        // The head comes on top of the body: some hundred bytes in a hundred million.
        received += bytes.length;
        status ||= bytes.toString("latin1", 0, 12);
        if (received < answerBytes || unsent > 0) return;
        done.resolve((performance.now() - started) / 1000);
        socket.terminate();
      },
      close: () => done.reject(new Error(`broken off after ${received} bytes (${status || "no answer"})`)),
      error: (_socket, error) => done.reject(error),
    },
  }).catch(done.reject);
  return done.promise.then((seconds) => {
    if (status !== "HTTP/1.1 200") throw new Error(`answered ${status}`);
    return seconds;
  });
}
