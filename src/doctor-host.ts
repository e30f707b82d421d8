// What the host must give every start: descriptors, a null device, and 127.0.0.1.

import { connect, createServer, type Server, type Socket } from "node:net";

import { checkNull } from "../native/descriptors.ts";
import { raiseFileLimit } from "../native/process.ts";
import { type Check, fatal, ok, warning } from "./checks.ts";
import { causeOf } from "./errors.ts";
import { MIN_DESCRIPTORS, NULL_HINT } from "./harden.ts";

/** Fewer than this are soon used up, at two for each exchange and one for each connection that waits. */
const FEW_DESCRIPTORS = 256;

export async function checkHost(): Promise<Check[]> {
  return [describeDescriptors(), describeNull(), await describeLoopback()];
}

function describeDescriptors(): Check {
  const { soft } = raiseFileLimit();
  const found = `${soft} at most`;
  if (soft < MIN_DESCRIPTORS)
    return fatal("descriptors", found, `the proxy requires ${MIN_DESCRIPTORS}: raise RLIMIT_NOFILE`);
  if (soft >= FEW_DESCRIPTORS) return ok("descriptors", found);
  return warning("descriptors", `${found}, two for each exchange`, "raise RLIMIT_NOFILE (ulimit -n)");
}

function describeNull(): Check {
  try {
    checkNull();
    return ok("null-device", "/dev/null is one");
  } catch (error) {
    return fatal("null-device", `/dev/null cannot be used (${causeOf(error)})`, NULL_HINT);
  }
}

/** Listens there as the proxy does, and connects as a client does. */
async function describeLoopback(): Promise<Check> {
  let server: Server;
  try {
    server = await listen();
  } catch (error) {
    const found = `cannot listen on 127.0.0.1 (${causeOf(error)})`;
    return fatal("loopback", found, "ip addr add 127.0.0.1/8 dev lo; ip link set lo up");
  }
  try {
    const { port } = server.address() as { port: number };
    await settled(connect({ host: "127.0.0.1", port }), "connect");
    return ok("loopback", "127.0.0.1 can be listened on, and reached");
  } catch (error) {
    const found = `127.0.0.1 can be listened on, and not reached (${causeOf(error)})`;
    return warning("loopback", found, "no client would reach the proxy: ip link set lo up");
  } finally {
    server.close();
  }
}

async function listen(): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, "127.0.0.1");
  return await settled(server, "listening");
}

/** The same once the event has come; a socket is closed then. Rejects with what went wrong. */
function settled<T extends Server | Socket>(emitter: T, event: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  emitter.once("error", reject).once(event, () => {
    if ("destroy" in emitter) emitter.destroy();
    resolve(emitter);
  });
  return promise;
}
