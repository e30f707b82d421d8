// The result of a run, from the JUnit file that `bun test` writes: how long each file took, what was skipped and why, and the totals.

import { missingOf } from "./needs.ts";

type Skipped = { file: string; name: string; reason: string };

type Report = {
  passed: number;
  failed: number;
  skipped: Skipped[];
  /** Test file → seconds. */
  files: Map<string, number>;
};

/** Reads a report of the expected test files. A file that is missing in it could not be loaded, and counts as a failed test. */
export function readReport(junit: string, expected: readonly string[]): Report {
  const report: Report = { passed: 0, failed: 0, skipped: [], files: new Map() };
  for (const [, text] of junit.matchAll(/<testsuite ([^>]*)>/g)) {
    const { name, file, time } = attributes(text!);
    if (name === file) report.files.set(file!, Number(time));
  }
  for (const [, text, content = ""] of junit.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const { name = "", classname = "", file = "" } = attributes(text!);
    if (content.includes("<failure")) report.failed++;
    else if (!content.includes("<skipped")) report.passed++;
    // Skipped hooks are listed as well, without a name (Bun 1.4.5).
    else if (name !== "(unnamed)") report.skipped.push(skipped(file, name, classname));
  }
  const notLoaded = expected.filter((file) => !report.files.has(file));
  report.failed += notLoaded.length;
  return report;
}

/** Returns the names of the tests that failed, each after the names of its groups. */
export function readFailures(junit: string): string[] {
  const cases = junit.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].flatMap(([, text, content = ""]) => {
    if (!content.includes("<failure")) return [];
    const { name = "", classname = "" } = attributes(text!);
    return [[...classname.split(" > ").reverse(), name].filter((part) => part !== "").join(" > ")];
  });
}

/** Returns the report in lines: files by time, skipped tests by reason, and the totals last. */
export function* showReport({ passed, failed, skipped, files }: Report): Generator<string> {
  for (const [file, seconds] of [...files].sort(([, a], [, b]) => b - a))
    yield `${seconds.toFixed(1).padStart(6)} s  ${file}`;
  for (const [reason, tests] of Map.groupBy(skipped, (test) => test.reason)) {
    const byFile = Map.groupBy(tests, ({ file }) => file.replace(/^.*\/|(\.test|\.slow)?\.ts$/g, ""));
    const names = [...byFile].map(([file, those]) => `${file}: ${countNames(those).join("; ")}`);
    yield `skipped: ${tests.length} ${tests.length === 1 ? "needs" : "need"} ${reason} (${names.join(" | ")})`;
  }
  yield `${passed} passed, ${failed} failed, ${skipped.length} skipped`;
}

/** Returns a skipped test under the outermost name that says a need. The reason is which of its needs are missing here, or all of them. */
function skipped(file: string, name: string, groups: string): Skipped {
  // From the outermost group to the test.
  const named = [name, ...groups.split(" > ")].reverse().filter((text) => NEEDS.test(text));
  if (named.length === 0) return { file, name, reason: "what their names do not say" };
  const needs = [...new Set(named.flatMap((text) => NEEDS.exec(text)![1]!.split(", ")))];
  const missing = missingOf(needs);
  const reason = (missing.length > 0 ? missing : needs).join(", ");
  return { file, name: named[0]!.replace(NEEDS, ""), reason };
}

const NEEDS = / \(needs ([^)]+)\)/;

function countNames(tests: readonly Skipped[]): string[] {
  const byName = Map.groupBy(tests, ({ name }) => name);
  return [...byName].map(([name, { length }]) => (length === 1 ? name : `${name} (${length})`));
}

function attributes(text: string): Record<string, string> {
  const pairs = [...text.matchAll(/([\w-]+)="([^"]*)"/g)];
  return Object.fromEntries(pairs.map(([, name, value]) => [name!, unescape(value!)]));
}

function unescape(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code, name) =>
    code === undefined ? (entities[name] ?? whole) : String.fromCodePoint(Number(code)),
  );
}
