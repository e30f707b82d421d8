// Small requests as a load: wrk(1) with a POST of 2 kB, what it says of latency, what the upstream says of throughput, and the processor time
// that it costs the peer.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { processorTimeUs, untilQuiet } from "../machine/figures.ts";
import { end, start } from "../machine/processes.ts";
import type { Bench, Peer } from "../peers/peers.ts";

export type Load = {
  requestsPerSecond: number;
  /** Latency in microseconds, the resolution of wrk. */
  p50Us: number;
  /** Processor time of all processes of the peer for one request. */
  cpuUs: number;
};

type Four = [number, number, number, number];

const script = (headers: Record<string, string>): string => `
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
${Object.entries(headers)
  .map(([name, value]) => `wrk.headers["${name}"] = "${value}"`)
  .join("\n")}
wrk.body = '{"model":"gpt-5","input":"' .. string.rep("x", 1972) .. '"}'
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("\\nfigures %d %d %d %d\\n", summary.requests, latency:percentile(50),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
`;

/** So long code is compiled at least. */
const WARM_UP_MS = 400;
const LOOK_MS = 150;

/**
 * Resolves when each connection has had some answers, and no more connections to the upstream are opened. Some peers are slow, and some open
 * connections all the time, so there is a limit.
 */
async function warmUp({ upstreams }: Bench, connections: number): Promise<void> {
  const limit = performance.now() + WARM_UP_MS + 4 * connections;
  const enough = (await upstreams.status()).requests + 3 * connections;
  await Bun.sleep(WARM_UP_MS);
  for (let before = NaN; performance.now() < limit;) {
    const seen = await upstreams.status();
    if (seen.connections === before && seen.requests >= enough) return;
    before = seen.connections;
    await Bun.sleep(LOOK_MS);
  }
}

/**
 * Sends requests to `peer` on `connections` connections, on each one after the other. Throughput and processor time
 * are those of a time in which connections are open, latency is that of all requests. Throws if an answer was not a 200.
 */
export async function measureLoad(bench: Bench, peer: Peer, connections: number): Promise<Load> {
  const { site, upstreams, loadSeconds } = bench;
  const file = join(site.directory, "post.lua");
  writeFileSync(file, script(peer.headers));
  const pids = peer.pids();
  const look = async () => {
    const { requests } = await upstreams.status();
    return { requests, cpuUs: processorTimeUs(pids), ms: performance.now() };
  };
  // It takes whole seconds; SIGINT ends it earlier, and it reports what it has.
  const options = ["-t1", `-c${connections}`, "-d60s", "--timeout=10s", "-s", file, peer.url];
  const wrk = start(["wrk", ...options], { stdin: "ignore", stdout: "pipe", stderr: "inherit" } as const);
  let output: string;
  let [before, after]: Awaited<ReturnType<typeof look>>[] = [];
  try {
    await warmUp(bench, connections);
    before = await look();
    await Bun.sleep(1_000 * loadSeconds);
    after = await look();
    wrk.kill("SIGINT");
    output = await new Response(wrk.stdout).text();
  } finally {
    await end(wrk);
  }
  // What is left of this load must not be measured with the next one.
  await untilQuiet(pids);
  const figures = /^figures (\d+) (\d+) (\d+) (\d+)$/m.exec(output);
  if (figures === null) throw new Error(`wrk said ${output.slice(-300)}`);
  const [sent, p50Us, refused, broken] = figures.slice(1).map(Number) as Four;
  const requests = after.requests - before.requests;
  if (sent === 0 || requests === 0) throw new Error("no request was answered");
  if (refused + broken > 0)
    throw new Error(`of ${sent} requests ${refused} were not answered with 200, and ${broken} broke off`);
  return {
    requestsPerSecond: requests / ((after.ms - before.ms) / 1_000),
    p50Us,
    cpuUs: (after.cpuUs - before.cpuUs) / requests,
  };
}
