// Load: wrk(1) with a POST of 2 kB, and what it says of latency and throughput.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { run } from "./children.ts";

export type Load = {
  requests: number;
  requestsPerSecond: number;
  /** Latency in microseconds, which is wrk's own resolution. */
  p50Us: number;
  p99Us: number;
};

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

/** Has `connections` connections send requests to `url` one after the other for some seconds. Throws where an answer was no 200. */
export async function load(
  directory: string,
  url: string,
  connections: number,
  seconds: number,
): Promise<Load> {
  const script = join(directory, "post.lua");
  writeFileSync(script, SCRIPT);
  // wrk takes whole seconds; it is ended earlier by SIGINT, at which it reports what it has.
  const wrk = ["wrk", "-t1", `-c${connections}`, "-d60s", "--timeout=10s", "-s", script, url];
  const output = await run(["timeout", "--signal=INT", "--preserve-status", String(seconds), ...wrk]);
  const match = /^figures (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(output);
  if (match === null) throw new Error(`wrk said ${output.slice(-300)}`);
  const [requests, durationUs, p50Us, p99Us, errors] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (errors > 0) throw new Error(`${errors} of ${requests} requests failed`);
  return { requests, requestsPerSecond: requests / (durationUs / 1e6), p50Us, p99Us };
}
