// The processes that the benchmark starts: each leads a group of its own, and none outlives the benchmark.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const groups = new Set<number>();
const directories: string[] = [];

/** A uid that no user has. */
export const USER = 61_234;

type Child = { pid: number; exited: Promise<unknown> };

/** Starts `command` in a process group of its own, so that it can be ended together with what it starts. */
export function start<Options extends object>(command: string[], options: Options) {
  const child = Bun.spawn(command, { cwd: "/", ...options, detached: true });
  groups.add(child.pid);
  return child;
}

/** Kills the group of `child` and waits until `child` has exited. */
export async function end(child: Child): Promise<void> {
  killGroup(child.pid);
  await child.exited;
  groups.delete(child.pid);
}

/** Ends a server by SIGTERM, so that it waits for its own children: in a container nobody else may. */
export async function endInOrder(child: Child): Promise<void> {
  process.kill(child.pid, "SIGTERM");
  await Promise.race([child.exited, Bun.sleep(2_000)]);
  await end(child);
}

/** Runs `command` and returns its standard output. Throws with its standard error if it fails. */
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
    throw new Error(`${command[0]} exited with ${child.exitCode ?? child.signalCode}: ${errors.slice(-500)}`);
  } finally {
    await end(child);
  }
}

/** Returns a directory that is removed when the benchmark exits. Other users can open files in it by name, but cannot list it. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-bench-"));
  chmodSync(directory, 0o711);
  directories.push(directory);
  return directory;
}

/** Kills everything and removes the temporary directories at each exit that can be caught. */
export function endEverythingAtExit(): void {
  process.on("exit", () => {
    for (const group of groups) killGroup(group);
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Returns a port of 127.0.0.1 that is free now, for a program that must be told one. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

const START_MS = 10_000;

/** Calls `look` until it returns something else than undefined. Ends `child` and throws if it exits first, or takes too long. */
export async function untilStarted<T>(
  child: Child,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  let hasExited = false;
  void child.exited.then(() => (hasExited = true));
  const deadline = performance.now() + START_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (hasExited || performance.now() > deadline) {
      await end(child);
      throw new Error(hasExited ? "exited at its start" : `had not started after ${START_MS / 1000} s`);
    }
    await Bun.sleep(5);
  }
}

/** Resolves when `child` accepts connections on `port`. */
export const untilConnectable = (port: number, child: Child): Promise<true> =>
  untilStarted(child, async () => (await canConnect(port)) || undefined);

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
