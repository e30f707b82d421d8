// Acting as other users, which takes root: CI is root, and elsewhere the tests that need it say so.

import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";

import { temporaryDirectory } from "./program.ts";

export const isRoot = process.getuid?.() === 0;
if (!isRoot) console.error("not root: tests that act as other users are skipped");

/** Numbers of users that nobody is. */
export const ALICE = 61_234;
export const BOB = 61_235;

/** A command line's beginning that has the rest run as that user, without any privilege. */
export function as(uid: number): string[] {
  return ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--inh-caps=-all"];
}

let directory: string | undefined;

/** Runs a script of test/harness/ as another user, bundled, with a Bun that this user can reach; answers its standard output. */
export async function runAs(uid: number, script: string, ...args: string[]): Promise<string> {
  directory ??= await prepare();
  const bundle = await Bun.build({
    entrypoints: [`${import.meta.dir}/${script}`],
    target: "bun",
    outdir: directory,
  });
  if (!bundle.success) throw new AggregateError(bundle.logs, "the script cannot be bundled");
  const name = script.replace(/\.ts$/, ".js");
  const child = Bun.spawn([...as(uid), join(directory, "bun"), join(directory, name), ...args], {
    stdout: "pipe",
    stderr: "inherit",
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
  });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`${script} ended with ${child.exitCode}`);
  return output;
}

async function prepare(): Promise<string> {
  const made = temporaryDirectory();
  copyFileSync(process.execPath, join(made, "bun"));
  chmodSync(join(made, "bun"), 0o755);
  return made;
}
