// Ports of 127.0.0.1: finding a free one for a program that must be told, and waiting until it is taken.

import { connect } from "node:net";

/** A port that is free now. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

/** Resolves once somebody accepts connections on `port`; throws where `ended` comes first. */
export async function untilConnectable(port: number, ended: Promise<unknown>): Promise<void> {
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  while (!(await canConnect(port))) {
    if (hasEnded) throw new Error("it ended before it accepted connections");
    await Bun.sleep(10);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
