// A stand-in for the HTTP proxy that HTTPS_PROXY names.

import { connect, createServer } from "node:net";

import { atEnd } from "./cleanup.ts";

/** An HTTP proxy that leads every name to 127.0.0.1, there to the port that was asked for or to the one given; and whom it was asked for. */
export async function startHttpProxy({ to }: { to?: number } = {}): Promise<{
  port: number;
  asked: string[];
}> {
  const asked: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      const [, host, port] = /^CONNECT (\S+):(\d+) /.exec(bytes.toString())!;
      asked.push(`${host}:${port}`);
      const onwards = connect(to ?? Number(port), "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.pipe(onwards).pipe(socket);
      });
      onwards.on("error", () => socket.destroy());
      onwards.on("close", () => socket.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(() => void server.close());
  return { port: (server.address() as { port: number }).port, asked };
}
