// Runs the tests: `bun test/run.ts [--fast|--slow] [FILE…]`. Its last lines say how long each file took, and what was skipped and why.
// Exits with the code of `bun test`.

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

import { readReport, showReport } from "./harness/report.ts";

/**
 * The files that mostly wait: for silences, and for lifetimes to end. They run beside the others and take next to no processor time, two at
 * a time: the first takes 35 s, the next two 25 to 35 s.
 */
const WAITING = [
  "test/proxy/quiet.test.ts",
  "test/oidc/renewal.test.ts",
  "test/oidc/first-token.test.ts",
  "test/oidc/oidc-secrecy.test.ts",
  "test/proxy/upstream.test.ts",
  "test/proxy/budget.test.ts",
  "test/commands/doctor-upstream.test.ts",
];

/** The files that take long, in the order in which they start, before all others. */
const LONG = [
  "test/lockdown/races.test.ts",
  "test/fuzz/fuzz.test.ts",
  "test/packaging/packages.test.ts",
  "test/packaging/targets.test.ts",
  "test/packaging/action.test.ts",
  "test/packaging/deb.test.ts",
  "test/commands/run.test.ts",
  "test/proxy/socket.test.ts",
  "test/proxy/full.test.ts",
  "test/proxy/browser.test.ts",
  "test/commands/connect.test.ts",
  "test/key/memory.test.ts",
  "test/lockdown/kernel.test.ts",
  "test/oidc/oidc-memory.test.ts",
  "test/lockdown/host.test.ts",
  "test/commands/background.test.ts",
  "test/commands/doctor.test.ts",
  "test/commands/status.test.ts",
  "test/commands/run-users.test.ts",
  "test/proxy/callers.test.ts",
  "test/proxy/pools.test.ts",
  "test/oidc/oidc-hosts.test.ts",
  "test/key/client-token.test.ts",
  "test/lockdown/sandbox.test.ts",
  "test/report/dump.test.ts",
  "test/key/key-file.test.ts",
];

/** `--fast` leaves out what takes long, and what waits. */
const SLOW_BY_NATURE = [...WAITING, ...LONG];

const words = process.argv.slice(2);
const flag = words[0]?.startsWith("--") ? words.shift() : undefined;
if (flag !== undefined && flag !== "--fast" && flag !== "--slow") throw new Error(`unknown flag '${flag}'`);

const all = [...new Bun.Glob(flag === "--slow" ? "test/slow/*.slow.ts" : "test/*/*.test.ts").scanSync(".")];
const files = (words.length > 0 ? words : all)
  .filter((file) => flag !== "--fast" || !SLOW_BY_NATURE.includes(file))
  .sort();

const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-run-"));
// Copies of the program, shared by all test files (harness/copies.ts). Other users reach them.
const copies = mkdtempSync("/tmp/responses-api-proxy-test-");
chmodSync(copies, 0o755);

type Ran = { exitCode: number; junit: string };

/** Runs these files, so many at a time; one after the other in this process if that is 0. */
async function run(name: string, these: readonly string[], workers: number): Promise<Ran> {
  if (these.length === 0) return { exitCode: 0, junit: "" };
  const [junit, timings] = [join(directory, `${name}.xml`), join(directory, `${name}.json`)];
  // A worker starts the longest of its files first, an idle one the longest that is left. These are ranks, not times: first the lists above,
  // then the largest files.
  const rank = (file: string): number =>
    1_000_000 * (1 + [...WAITING, ...LONG].toReversed().indexOf(file)) + statSync(file).size;
  const durations = Object.fromEntries(these.map((file) => [file, rank(file)]));
  writeFileSync(timings, JSON.stringify({ version: 1, files: durations }));
  const parallel = [`--parallel=${workers}`, "--timeout=60000", `--timings=${timings}`];
  const how = workers === 0 ? ["--timeout=900000"] : parallel;
  const reporter = ["--reporter=junit", `--reporter-outfile=${junit}`];
  const tests = Bun.spawn(
    [process.execPath, "test", ...how, ...reporter, ...these.map((file) => `./${file}`)],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, TEST_COPIES: copies },
    },
  );
  await tests.exited;
  return { exitCode: tests.exitCode ?? 1, junit: readFileSync(junit, "utf8") };
}

try {
  const waits = (file: string): boolean => WAITING.includes(file);
  const runs =
    // The slow tests measure as well, so they run one after the other.
    flag === "--slow"
      ? [run("slow", files, 0)]
      : [
          run("waiting", files.filter(waits), 2),
          // One more than there are processors, because some test is always waiting.
          run(
            "others",
            files.filter((file) => !waits(file)),
            availableParallelism() + 1,
          ),
        ];
  const ran = await Promise.all(runs);
  const report = readReport(ran.map(({ junit }) => junit).join("\n"), files);
  console.log(`\n${[...showReport(report)].join("\n")}`);
  const exitCode = Math.max(...ran.map(({ exitCode }) => exitCode));
  process.exitCode = exitCode === 0 && report.failed > 0 ? 1 : exitCode;
} finally {
  for (const made of [directory, copies]) rmSync(made, { recursive: true });
}
