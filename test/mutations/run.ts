// Takes the program's promises away, one at a time, and says which test noticed: `npm run test:mutations [-- FILTER…]`, as root.
//
// Each change is made in a copy of the tree, which is built, and the test files named beside the change are run there. Exit code 1 if no
// test noticed one that is not known for it. FILTER is a part of a file's name or of a promise; all if there is none.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { lacks } from "../harness/needs.ts";
import { readFailures } from "../harness/report.ts";
import { mutate, type Mutation, testFile } from "./mutation.ts";
import native from "./native.ts";
import oidc from "./oidc.ts";
import src from "./src.ts";

/** A test that takes longer has failed, unless the whole file is slow by nature. */
const TIMEOUT_MS = 60_000;
const SLOW_TIMEOUT_MS = 900_000;

const filters = process.argv.slice(2);
const chosen = [...native, ...src, ...oidc].filter(
  ({ file, promise }) =>
    filters.length === 0 || filters.some((part) => file.includes(part) || promise.includes(part)),
);
if (lacks("root")) console.log("not as root: what only root's tests would notice survives here");

/** A copy of everything that git knows, and of what it would. */
function copyTree(to: string): string {
  const files = Bun.spawnSync([
    "git",
    "ls-files",
    "--cached",
    "--others",
    "--exclude-standard",
  ]).stdout.toString();
  for (const file of files.trimEnd().split("\n")) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(file, join(to, file));
  }
  symlinkSync(join(process.cwd(), "node_modules"), join(to, "node_modules"));
  return to;
}

const isSlow = (name: string): boolean => name.startsWith("slow/");

type Outcome = { mutation: Mutation; noticedBy: string | undefined; seconds: number };

/** Runs a program in the tree, and returns what it printed if it fails. */
async function failure(tree: string, args: readonly string[]): Promise<string | undefined> {
  const child = Bun.spawn([process.execPath, ...args], {
    cwd: tree,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return (await child.exited) === 0 ? undefined : output.join("");
}

async function build(tree: string): Promise<void> {
  const output = await failure(tree, ["packaging/build.ts"]);
  if (output !== undefined) throw new Error(`it does not build:\n${output}`);
}

/** The first test of the named ones that fails in the tree; undefined if none does. */
async function firstFailure(
  tree: string,
  { tests, only }: Pick<Mutation, "tests" | "only">,
): Promise<string | undefined> {
  for (const name of tests) {
    const junit = join(tree, "dist/junit.xml");
    rmSync(junit, { force: true });
    // Not with --bail: Bun 1.4.5 then ends without afterAll, and leaves programs that run and copies of 110 MB.
    const output = await failure(tree, [
      "test",
      testFile(name)!,
      `--timeout=${isSlow(name) ? SLOW_TIMEOUT_MS : TIMEOUT_MS}`,
      "--reporter=junit",
      `--reporter-outfile=${junit}`,
      ...(only === undefined ? [] : ["-t", only]),
    ]);
    if (output === undefined) continue;
    if (/matched 0 tests/.test(output)) {
      unmatched.add(`${name}: no test is called ${only}`);
      continue;
    }
    const [failed] = readFailures(
      await Bun.file(junit)
        .text()
        .catch(() => ""),
    );
    return `${name}: ${
      failed ??
      output
        .trimEnd()
        .split("\n")
        .findLast((line) => line.includes("error")) ??
      "?"
    }`;
  }
  return undefined;
}

const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-mutations-"));
process.on("exit", () => rmSync(directory, { recursive: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
const outcomes: Outcome[] = [];
const unmatched = new Set<string>();

async function work(tree: string, queue: Mutation[]): Promise<void> {
  for (let mutation = queue.shift(); mutation !== undefined; mutation = queue.shift()) {
    const path = join(tree, mutation.file);
    const original = readFileSync(path, "utf8");
    const began = performance.now();
    writeFileSync(path, mutate(original, mutation));
    let noticedBy: string | undefined;
    try {
      await build(tree);
      noticedBy = await firstFailure(tree, mutation);
    } catch (error) {
      throw new Error(`${mutation.file}, "${mutation.promise}"`, { cause: error });
    } finally {
      writeFileSync(path, original);
    }
    const outcome = { mutation, noticedBy, seconds: Math.round((performance.now() - began) / 1000) };
    outcomes.push(outcome);
    console.log(lineOf(outcome));
  }
}

function lineOf({ mutation: { file, promise, known }, noticedBy, seconds }: Outcome): string {
  const fate = noticedBy ?? (known === undefined ? "SURVIVED" : `survived (${known})`);
  return `${String(seconds).padStart(4)} s  ${file}: ${promise} | ${fate}`;
}

// What fails unchanged proves nothing.
const workers = Math.min(availableParallelism() + 1, chosen.length);
const trees = Array.from({ length: workers }, (_, index) => copyTree(join(directory, String(index))));
await Promise.all(trees.map(build));
const files = [...new Set(chosen.flatMap(({ tests }) => tests))].filter((name) => !isSlow(name)).sort();
const parallel = [`--parallel=${workers}`, `--timeout=${TIMEOUT_MS}`];
// Without a file `bun test` would run them all.
const red =
  files.length === 0
    ? undefined
    : await failure(trees[0]!, ["test", ...parallel, ...files.map((name) => testFile(name)!)]);
if (red !== undefined) throw new Error(`red without any change:\n${red}`);
const queue = [...chosen];
await Promise.all(trees.map((tree) => work(tree, queue)));
const survived = outcomes.filter(({ noticedBy }) => noticedBy === undefined);
const unknown = survived.filter(({ mutation }) => mutation.known === undefined);
const better = outcomes.filter(
  ({ noticedBy, mutation }) => noticedBy !== undefined && mutation.known !== undefined,
);
console.log(
  `${outcomes.length} mutations, ${outcomes.length - survived.length} noticed, ${survived.length} not, of which ${unknown.length} are not known`,
);
for (const outcome of better)
  console.log(`noticed after all, and need not be listed as known: ${lineOf(outcome)}`);
for (const outcome of unknown) console.log(lineOf(outcome));
for (const line of unmatched) console.log(line);
process.exitCode = unknown.length + unmatched.size > 0 ? 1 : 0;
