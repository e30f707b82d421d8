// A proxy that nobody asks for anything costs next to nothing: it wakes up at most once a second.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";

import { Proxy } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

/** How often the process's threads have gone to sleep. */
function sleeps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))
    .map((status) => Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(status)![1]))
    .reduce((sum, count) => sum + count, 0);
}

test("after a minute without a request, in another minute", async () => {
  const proxy = await Proxy.start({ args: [`--upstream-url=${new RawUpstream().url}`] });
  expect((await roundTrip(proxy.port, REQUEST)).body).toBe("ok");
  // What the engine does after its start, and the closing of idle connections, are over by then.
  await Bun.sleep(60_000);
  const before = sleeps(proxy.pid);
  await Bun.sleep(60_000);
  const count = sleeps(proxy.pid) - before;
  console.log(`${(count / 60).toFixed(2)} wake-ups a second`);
  expect(count).toBeLessThanOrEqual(60);
  await proxy.stop();
});
