// Small requests as a load: wrk(1) with a POST of 2 kB, what it says of latency and throughput, and the processor time it costs the peer.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Bench, Peer } from "./peers.ts";
import { processorTimeUs, run } from "./processes.ts";

export type Load = {
  requestsPerSecond: number;
  /** Latency in microseconds, the resolution of wrk. */
  p50Us: number;
  p99Us: number;
  /** Processor time of all processes of the peer for one request. */
  cpuUs: number;
};

type Five = [number, number, number, number, number];

const SCRIPT = `
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"gpt-5","input":"' .. string.rep("x", 1972) .. '"}'
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("\\nfigures %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
`;

/** Sends requests to `peer` on `connections` connections, on each one after the other. Throws if an answer was not a 200. */
export async function measureLoad(
  { site, ...bench }: Bench,
  peer: Peer,
  connections: number,
  seconds = bench.seconds,
): Promise<Load> {
  const script = join(site.directory, "post.lua");
  writeFileSync(script, SCRIPT);
  const pids = peer.pids();
  const before = processorTimeUs(pids);
  // wrk takes whole seconds; SIGINT ends it earlier, and it reports what it has.
  const wrk = ["wrk", "-t1", `-c${connections}`, "-d60s", "--timeout=10s", "-s", script, peer.url];
  const output = await run(["timeout", "--signal=INT", "--preserve-status", String(seconds), ...wrk]);
  const cpuUs = processorTimeUs(pids) - before;
  const figures = /^figures (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(output);
  if (figures === null) throw new Error(`wrk said ${output.slice(-300)}`);
  const [requests, durationUs, p50Us, p99Us, errors] = figures.slice(1).map(Number) as Five;
  if (requests === 0) throw new Error("no request was answered");
  if (errors > 0) throw new Error(`${errors} of ${requests} requests failed`);
  return { requestsPerSecond: requests / (durationUs / 1e6), p50Us, p99Us, cpuUs: cpuUs / requests };
}
