// Runs the tests, and says at the end how long each file took and what was skipped and why: `bun test/run.ts [--fast|--slow] [FILE…]`.
// The exit code is that of `bun test`.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

import { readReport, showReport } from "./harness/report.ts";

/**
 * Slow by nature: 2 × 50 races, 35 s and 16 s of silence, npm, builds, a browser, memory under load, made-up machines,
 * many starts in a row. `--fast` leaves them out; otherwise they are started first.
 */
const TAKE_LONG = [
  "test/lockdown/races.test.ts",
  "test/proxy/quiet.test.ts",
  "test/proxy/upstream.test.ts",
  "test/packaging/packages.test.ts",
  "test/key/memory.test.ts",
  "test/packaging/targets.test.ts",
  "test/proxy/browser.test.ts",
  "test/fuzz/fuzz.test.ts",
  "test/lockdown/kernel.test.ts",
  "test/lockdown/host.test.ts",
  "test/proxy/full.test.ts",
];

const words = process.argv.slice(2);
const flag = words[0]?.startsWith("--") ? words.shift() : undefined;
if (flag !== undefined && flag !== "--fast" && flag !== "--slow") throw new Error(`unknown flag '${flag}'`);

const all = [...new Bun.Glob(flag === "--slow" ? "test/slow/*.slow.ts" : "test/*/*.test.ts").scanSync(".")];
const files = (words.length > 0 ? words : all)
  .filter((file) => flag !== "--fast" || !TAKE_LONG.includes(file))
  .sort();

const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-run-"));
const [junit, timings] = [join(directory, "junit.xml"), join(directory, "timings.json")];
try {
  // One more than there are processors: there is always a test that waits.
  const workers = availableParallelism() + 1;
  const parallel = [`--parallel=${workers}`, "--timeout=60000", `--timings=${timings}`];
  // What takes minutes each also measures: one after the other.
  const how = flag === "--slow" ? ["--timeout=900000"] : parallel;
  const duration = (file: string): number => (TAKE_LONG.includes(file) ? 60_000 : 1_000);
  const durations = Object.fromEntries(files.map((file) => [file, duration(file)]));
  writeFileSync(timings, JSON.stringify({ version: 1, files: durations }));
  const reporter = ["--reporter=junit", `--reporter-outfile=${junit}`];
  const tests = Bun.spawn(
    [process.execPath, "test", ...how, ...reporter, ...files.map((file) => `./${file}`)],
    {
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  await tests.exited;
  const report = readReport(readFileSync(junit, "utf8"), files);
  console.log(`\n${[...showReport(report)].join("\n")}`);
  process.exitCode = tests.exitCode === 0 && report.failed > 0 ? 1 : (tests.exitCode ?? 1);
} finally {
  rmSync(directory, { recursive: true });
}
