// What the host must give every start: descriptors, a null device, and 127.0.0.1.

import { checkNull } from "../../../native/files/descriptors.ts";
import { raiseFileLimit } from "../../../native/process/process.ts";
import { causeOf } from "../../base/errors.ts";
import { MIN_DESCRIPTORS, NULL_HINT } from "../../lockdown/harden.ts";
import { type Check, fatal, ok, warning } from "./checks.ts";
import { connect } from "./connection.ts";

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
  let server: Bun.TCPSocketListener;
  try {
    server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  } catch (error) {
    const found = `cannot listen on 127.0.0.1 (${causeOf(error)})`;
    return fatal("loopback", found, "ip addr add 127.0.0.1/8 dev lo; ip link set lo up");
  }
  try {
    (await connect(["127.0.0.1"], server.port)).destroy();
    return ok("loopback", "127.0.0.1 can be listened on, and reached");
  } catch (error) {
    const found = `127.0.0.1 can be listened on, and not reached (${causeOf(error)})`;
    return warning("loopback", found, "no client would reach the proxy: ip link set lo up");
  } finally {
    server.stop(true);
  }
}
