// `responses-api-proxy connect`: joins TCP connections on 127.0.0.1 to the proxy's Unix socket, byte for byte. It has no key; it is for programs
// that know TCP only, in a container or network namespace that the proxy's port does not reach.

import { connect as connectTo, createServer, type Server, type Socket } from "node:net";

import { raiseFileLimit } from "../../native/process/process.ts";
import { causeOf, EXIT, type ExitCode } from "../base/errors.ts";
import { onceIn } from "../base/seldom.ts";
import * as terminal from "../base/terminal.ts";
import { cannotListen } from "../input/listening.ts";

const SILENT_MS = 60_000;
/** What the process has open without any connection, with room to spare. */
const OTHER_DESCRIPTORS = 24;

/** Prints the base URL once it listens, and runs until a signal ends it, with its connections. Throws UserError if it cannot listen. */
export async function connect(path: string, port: number): Promise<ExitCode> {
  const ended = firstSignal();
  const isTimeToWarn = onceIn(SILENT_MS);
  const warn = (cause: string): void => {
    if (!isTimeToWarn()) return;
    terminal.warning(`cannot connect to '${path}' (${cause}): the client's connection is reset`, [
      "start the proxy with --socket, and see that this user may connect to it (--socket-mode, --socket-group)",
    ]);
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const proxy = connectTo({ path, allowHalfOpen: true });
    proxy.once("error", (error) => {
      if (proxy.connecting || proxy.bytesRead === 0) warn(causeOf(error));
    });
    join(client, proxy);
    join(proxy, client);
  });
  server.maxConnections = mostConnections();
  await listen(server, port);
  const { port: actual } = server.address() as { port: number };
  terminal.output(`http://127.0.0.1:${actual}`);
  await ended;
  return EXIT.clean;
}

/** Without a handler, the kernel keeps these signals from process 1 of a PID namespace, as in a container (pid_namespaces(7)). */
function firstSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => resolve());
  return promise;
}

/** What one side sends goes to the other as it comes; its end ends the other, its break breaks the other off. */
function join(from: Socket, to: Socket): void {
  from.setNoDelay(true);
  from.pipe(to);
  from.once("error", () => to.resetAndDestroy());
}

/** Beyond it, connections are closed at once. Without a free descriptor, Bun 1.4.5 tries to accept the same one again and again. */
function mostConnections(): number {
  const { soft } = raiseFileLimit();
  return Math.max(1, Math.floor((Number(soft) - OTHER_DESCRIPTORS) / 2));
}

async function listen(server: Server, port: number): Promise<void> {
  const listening = Promise.withResolvers<void>();
  server.once("listening", listening.resolve);
  server.once("error", (error) => listening.reject(cannotListen(port, causeOf(error))));
  server.listen({ host: "127.0.0.1", port });
  await listening.promise;
}
