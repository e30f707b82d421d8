// Runs the tests: `bun test/run.ts [--fast|--slow] [FILE…]`. Its last lines say how long each file took, and what was skipped and why.
// Exits with the code of `bun test`.

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

import { readReport, showReport } from "./harness/report.ts";

/**
 * The files that take long, in the order in which they start, before all others; `--fast` leaves them out. The order keeps every processor
 * busy: never two at once of the files that mostly wait (silence for 35 s and for 16 s: quiet, upstream).
 */
const LONG = [
  "test/proxy/quiet.test.ts",
  "test/lockdown/races.test.ts",
  "test/fuzz/fuzz.test.ts",
  "test/packaging/packages.test.ts",
  "test/packaging/targets.test.ts",
  "test/lockdown/kernel.test.ts",
  "test/proxy/upstream.test.ts",
  "test/proxy/full.test.ts",
  "test/proxy/socket.test.ts",
  "test/commands/connect.test.ts",
  "test/proxy/browser.test.ts",
  "test/key/memory.test.ts",
  "test/lockdown/host.test.ts",
];

const words = process.argv.slice(2);
const flag = words[0]?.startsWith("--") ? words.shift() : undefined;
if (flag !== undefined && flag !== "--fast" && flag !== "--slow") throw new Error(`unknown flag '${flag}'`);

const all = [...new Bun.Glob(flag === "--slow" ? "test/slow/*.slow.ts" : "test/*/*.test.ts").scanSync(".")];
const files = (words.length > 0 ? words : all)
  .filter((file) => flag !== "--fast" || !LONG.includes(file))
  .sort();

const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-run-"));
// Copies of the program, shared by all test files (harness/copies.ts). Other users reach them.
const copies = mkdtempSync("/tmp/responses-api-proxy-test-");
chmodSync(copies, 0o755);
const [junit, timings] = [join(directory, "junit.xml"), join(directory, "timings.json")];
try {
  // One more than there are processors, because some test is always waiting.
  const workers = availableParallelism() + 1;
  const parallel = [`--parallel=${workers}`, "--timeout=60000", `--timings=${timings}`];
  // The slow tests measure as well, so they run one after the other.
  const how = flag === "--slow" ? ["--timeout=900000"] : parallel;
  // A worker starts the longest of its files first, an idle one the longest that is left. These are ranks, not times.
  const rank = (file: string): number => LONG.toReversed().indexOf(file) + 2;
  const durations = Object.fromEntries(files.map((file) => [file, 1_000 * rank(file)]));
  writeFileSync(timings, JSON.stringify({ version: 1, files: durations }));
  const reporter = ["--reporter=junit", `--reporter-outfile=${junit}`];
  const tests = Bun.spawn(
    [process.execPath, "test", ...how, ...reporter, ...files.map((file) => `./${file}`)],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, TEST_COPIES: copies },
    },
  );
  await tests.exited;
  const report = readReport(readFileSync(junit, "utf8"), files);
  console.log(`\n${[...showReport(report)].join("\n")}`);
  process.exitCode = tests.exitCode === 0 && report.failed > 0 ? 1 : (tests.exitCode ?? 1);
} finally {
  for (const made of [directory, copies]) rmSync(made, { recursive: true });
}
