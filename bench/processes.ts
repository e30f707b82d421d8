// The processes that the benchmark starts: each leads a group of its own, and none outlives the benchmark. And what the kernel says about
// them: processor time and memory (proc(5)), and whether one listens.

import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const groups = new Set<number>();
const directories: string[] = [];

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

/** Resolves when `child` accepts connections on `port`. Throws if it exits first. */
export async function untilConnectable(port: number, child: Child): Promise<void> {
  let hasExited = false;
  void child.exited.then(() => (hasExited = true));
  while (!(await canConnect(port))) {
    if (hasExited) throw new Error("exited before it accepted connections");
    await Bun.sleep(10);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** Returns the processes of a group. */
export function groupMembers(group: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => fieldsOf(pid)?.[FIELD.pgrp] === String(group));
}

/** Returns the user and system time that `pids` have taken so far, in microseconds. */
export function processorTimeUs(pids: number[]): number {
  return sum(pids, (pid) => {
    const fields = fieldsOf(pid);
    const ticks = Number(fields?.[FIELD.utime] ?? 0) + Number(fields?.[FIELD.stime] ?? 0);
    return (ticks / TICKS_PER_SECOND) * 1e6;
  });
}

/** Returns the resident memory of `pids` (VmRSS) in MB (10⁶ bytes). Memory that two of them share counts twice. */
export function residentMB(pids: number[]): number {
  return sum(pids, (pid) => {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024) / 1e6;
  });
}

/** getconf CLK_TCK, on every architecture that the program runs on. */
const TICKS_PER_SECOND = 100;
/** Fields 5, 14 and 15 of proc_pid_stat(5), counted from the one after the command's name, which may have spaces. */
const FIELD = { pgrp: 2, utime: 11, stime: 12 };

function fieldsOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // It has exited since.
  }
}

function sum(pids: number[], figureOf: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + figureOf(pid), 0);
}
