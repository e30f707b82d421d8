// Other hosts than this one: command lines' beginnings that have the rest run where something is missing or other. As root.

import { expect } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Ended, Proxy, runProgram, type Start, temporaryDirectory } from "./program.ts";
import { reachableBinary, UNREADABLE } from "./users.ts";

/** A kernel on which these system calls fail, or whose Landlock is of that ABI. */
export function onKernel(spec: Record<string, string | number>): string[] {
  return [process.execPath, `${import.meta.dir}/kernel.ts`, JSON.stringify(spec)];
}

/** A mount namespace of its own, prepared by a script of sh. */
export function inNamespace(prepare: string): string[] {
  return ["unshare", "--mount", "sh", "-ec", `${prepare}\nexec "$0" "$@"`];
}

export type Found = { id: string; status: string; found: string; advice: string | null };
export type Report = {
  version: string;
  uid: number;
  upstream: string;
  starts: boolean;
  startsStrictly: boolean;
  reachesUpstream: boolean;
  checks: Found[];
};

/** What is wrong, and what to do about it. */
type Reason = { found: string; advice: string | null };

/** The lines with that label on standard error, each with its hints, as doctor would put them. */
export function reasonsIn(stderr: string, label: "error" | "warning"): Reason[] {
  const reasons: { found: string; hints: string[] }[] = [];
  for (const [, word, text] of stderr.matchAll(/^responses-api-proxy: (?:(error|warning|hint): )?(.*)$/gm)) {
    if (word === label) reasons.push({ found: text!, hints: [] });
    else if (word === "hint") reasons.at(-1)?.hints.push(text!);
  }
  return reasons.map(({ found, hints }) => ({ found, advice: hints.join("; ") || null }));
}

/** The checks of that status, as far as a start has them, too. */
export function reasonsOf({ checks }: Pick<Report, "checks">, status: "warning" | "fatal"): Reason[] {
  const those = checks.filter((check) => check.status === status && check.id !== "upstream");
  return those.map(({ found, advice }) => ({ found, advice }));
}

type Host = { launcher: readonly string[]; args?: readonly string[]; binary?: string };
type Told = {
  verdict: { starts: boolean; startsStrictly: boolean };
  /** The check of doctor's. */
  of: (id: string) => Found | undefined;
};

/** Nobody is there for doctor to reach, which is no matter of starting. */
const UPSTREAM = "--upstream-url=http://127.0.0.1:1/v1/responses";

// To make the host costs as much as a start does, so it is made once for all of them. There may be hardly any descriptors, so sh redirects no
// more than it must: doctor reads nothing from standard input.
const ONE_AFTER_THE_OTHER = `
isStrict=$1 binary=$2; shift 2
"$binary" doctor --json "$@" >"$0/doctor.stdout" 2>"$0/doctor.stderr"
echo $? >"$0/doctor.code"
read -r report <"$0/doctor.stdout"
case $isStrict$report in yes*'"starts":true'*)
  "$binary" --strict "$@" <"$0/nothing" >"$0/strictly.stdout" 2>"$0/strictly.stderr"
  echo $? >"$0/strictly.code";;
esac
exec "$binary" "$@"`;

/**
 * What `doctor` says, and what a start without a key comes to, with --strict and without: doctor must say what they say. Where nothing starts,
 * --strict is not tried. The program's file is one that an ordinary user cannot read, so no copy is made.
 */
export async function compare(host: Host): Promise<Told & { started: Ended; strictly: Ended }> {
  const { start, ended } = inOneHost(host, "yes");
  const started = await runProgram({ ...start, seconds: 20 });
  const told = toldBy(ended("doctor"));
  const strictly = told.verdict.starts ? ended("strictly") : started;
  expect(told.verdict).toEqual({ starts: wantsKey(started), startsStrictly: wantsKey(strictly) });
  // What refuses to start says why, and so does doctor, in the same words.
  if (!told.verdict.starts)
    expect(told.checks).toEqual([
      { id: "start", status: "fatal", ...reasonsIn(started.stderr, "error")[0]! },
    ]);
  else if (!told.verdict.startsStrictly) {
    expect(strictly.exitCode).toBe(11);
    expect(reasonsIn(strictly.stderr, "error")).toEqual(reasonsOf(told, "warning"));
  }
  return { ...told, started, strictly };
}

/** The same where the proxy is given a key, serves and ends: its warnings must be doctor's, and all of them. */
export async function compareServing(host: Host): Promise<Told & { stderr: string }> {
  const { start, ended } = inOneHost(host, "no");
  const { stderr } = await (await Proxy.start(start)).stop();
  const told = toldBy(ended("doctor"));
  expect(told.verdict.starts).toBe(true);
  expect(reasonsOf(told, "warning")).toEqual(reasonsIn(stderr, "warning"));
  return { ...told, stderr };
}

/** Without a key a start comes as far as asking for it, if it comes so far. */
const wantsKey = ({ stderr }: Ended): boolean => stderr.includes("standard input has no key in it");

function toldBy({ stdout, stderr }: Ended): Told & { checks: Found[] } {
  expect(stderr).toBe("");
  const { starts, startsStrictly, checks } = JSON.parse(stdout) as Report;
  return { verdict: { starts, startsStrictly }, checks, of: (id) => checks.find((check) => check.id === id) };
}

/** A start that is preceded by others, and what those came to. */
function inOneHost(
  { launcher, args = [], binary = reachableBinary(UNREADABLE) }: Host,
  isStrict: "yes" | "no",
): { start: Start; ended: (name: "doctor" | "strictly") => Ended } {
  const directory = temporaryDirectory();
  // For whichever user it is.
  chmodSync(directory, 0o777);
  writeFileSync(join(directory, "nothing"), "");
  const command = ["sh", "-c", ONE_AFTER_THE_OTHER, directory, isStrict];
  const start = { binary, launcher: [...launcher, ...command], args: [UPSTREAM, ...args] };
  const ended = (name: string): Ended => {
    const read = (what: string): string => readFileSync(join(directory, `${name}.${what}`), "utf8");
    return { exitCode: Number(read("code")), signal: null, stdout: read("stdout"), stderr: read("stderr") };
  };
  return { start, ended };
}
