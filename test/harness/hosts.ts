// Other hosts than this one: command lines' beginnings that have the rest run where something is missing or other. As root.

import { expect } from "bun:test";

import { type Ended, runProgram } from "./program.ts";
import { reachableBinary } from "./users.ts";

/** A kernel on which these system calls fail, or whose Landlock is of that ABI. */
export function onKernel(spec: Record<string, string | number>): string[] {
  return [process.execPath, `${import.meta.dir}/kernel.ts`, JSON.stringify(spec)];
}

/** A mount namespace of its own, prepared by a script of sh. */
export function inNamespace(prepare: string): string[] {
  return ["unshare", "--mount", "sh", "-ec", `${prepare}\nexec "$0" "$@"`];
}

export type Found = { id: string; status: string; found: string; advice: string | null };
type Verdict = { starts: boolean; startsStrictly: boolean };

/** What `doctor` says, what a start and a start with --strict say; and the first must agree with the others. */
export async function compare(
  launcher: readonly string[],
  args: readonly string[] = [],
): Promise<{ started: Ended; strictly: Ended; of: (id: string) => Found | undefined; verdict: Verdict }> {
  const upstream = "--upstream-url=http://127.0.0.1:1/v1/responses";
  const binary = reachableBinary();
  // Nobody is there for doctor to reach, which is no matter of starting.
  const asked = await runProgram({ binary, launcher, args: ["doctor", "--json", upstream, ...args] });
  expect(asked.stderr).toBe("");
  const { starts, startsStrictly, checks } = JSON.parse(asked.stdout) as Verdict & { checks: Found[] };
  // Without a key a start comes as far as asking for it, if it comes so far.
  const started = await runProgram({ binary, launcher, args: [upstream, ...args] });
  const strictly = await runProgram({ binary, launcher, args: [upstream, "--strict", ...args] });
  const wantsKey = ({ stderr }: Ended): boolean => stderr.includes("standard input has no key in it");
  expect({ starts, startsStrictly }).toEqual({
    starts: wantsKey(started),
    startsStrictly: wantsKey(strictly),
  });
  return {
    started,
    strictly,
    of: (id) => checks.find((check) => check.id === id),
    verdict: { starts, startsStrictly },
  };
}
