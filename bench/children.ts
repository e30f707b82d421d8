// Every process the benchmark starts, each the leader of a group of its own, and their end: none outlives the benchmark.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const groups = new Set<number>();
const directories: string[] = [];

/** Starts `command` in a process group of its own, so that it can be ended together with whatever it starts. */
export function start<Options extends object>(command: string[], options: Options) {
  const child = Bun.spawn(command, { cwd: "/", ...options, detached: true });
  groups.add(child.pid);
  return child;
}

/** Kills the group of `child` and waits until `child` has ended. */
export async function end(child: { pid: number; exited: Promise<unknown> }): Promise<void> {
  killGroup(child.pid);
  await child.exited;
  groups.delete(child.pid);
}

/** Ends `child` as it asks to be: for one whose own children would otherwise be left to a process that may not wait for them. */
export async function endInOrder(child: { pid: number; exited: Promise<unknown> }): Promise<void> {
  process.kill(child.pid, "SIGTERM");
  await Promise.race([child.exited, Bun.sleep(2_000)]);
  await end(child);
}

/** Runs `command` to its end and answers its standard output. Throws with its standard error where it fails. */
export async function run(
  command: string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<string> {
  const child = start(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe", ...options } as const);
  try {
    const [output, errors] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (child.exitCode === 0) return output;
    throw new Error(`${command[0]} ended with ${child.exitCode ?? child.signalCode}: ${errors.slice(-500)}`);
  } finally {
    await end(child);
  }
}

/** A directory that is gone when the benchmark ends; others may look up names in it, and not list it. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-bench-"));
  chmodSync(directory, 0o711);
  directories.push(directory);
  return directory;
}

/** Kills everything that still runs and removes the temporary directories. */
export function endEverything(): void {
  for (const group of groups) killGroup(group);
  groups.clear();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

/** Has `endEverything` done at any end that can be caught. */
export function endEverythingAtExit(): void {
  process.on("exit", endEverything);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
