// Running programs as other users, which only root can; and an ordinary user for tests that anybody can run.

import { BINARY, sharedCopy, temporaryDirectory } from "./copies.ts";
import { within } from "./deadline.ts";
import { Output } from "./output.ts";

export const isRoot = process.getuid?.() === 0;

/** Uids that no user has. */
export const ALICE = 61_234;
export const BOB = 61_235;

/** An ordinary user: ALICE if root runs the tests, else the user who does. */
export const ORDINARY = isRoot ? ALICE : process.getuid!();

/**
 * Returns a launcher that runs a command as that user, without privileges; empty for the current user. setpriv(1) has its capabilities until its own
 * execve, so a file that only root can read counts as readable there: sh, in between, has none.
 */
export function as(uid: number): string[] {
  if (uid === process.getuid!()) return [];
  const become = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--inh-caps=-all"];
  return [...become, "sh", "-c", 'exec "$0" "$@"'];
}

/** The mode that lets the ordinary user execute the program but not read it; root owns the file, or that user. */
export const UNREADABLE = isRoot ? 0o711 : 0o111;

/** Returns the path of a copy of the binary that every user can reach: one for each mode, shared, so tests leave it alone. */
export function reachableBinary(mode = 0o755): string {
  return sharedCopy(BINARY, mode);
}

/** Script → its bundle. */
const bundles = new Map<string, Promise<string>>();

/** Runs a script of test/harness/ as another user, bundled, with a Bun that this user can reach; returns its standard output. */
export function runAs(uid: number, script: string, ...args: string[]): Promise<string> {
  return runAsWithin(10, uid, script, ...args);
}

/** Does the same for a script that takes longer by nature. */
export async function runAsWithin(
  seconds: number,
  uid: number,
  script: string,
  ...args: string[]
): Promise<string> {
  const bundle = bundles.get(script) ?? bundled(script);
  bundles.set(script, bundle);
  const bun = sharedCopy(process.execPath, 0o755);
  const child = Bun.spawn([...as(uid), bun, await bundle, ...args], {
    stdout: "pipe",
    stderr: "inherit",
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
  });
  const output = new Output(child.stdout);
  await within(Promise.all([child.exited, output.done]), `${script} to end`, {
    seconds,
    seen: () => output.text,
  }).finally(() => child.kill("SIGKILL"));
  if (child.exitCode !== 0) throw new Error(`${script} ended with ${child.exitCode}`);
  return output.text;
}

async function bundled(script: string): Promise<string> {
  const bundle = await Bun.build({
    entrypoints: [`${import.meta.dir}/${script}`],
    target: "bun",
    outdir: temporaryDirectory(),
  });
  if (!bundle.success) throw new AggregateError(bundle.logs, "the script cannot be bundled");
  return bundle.outputs[0]!.path;
}
