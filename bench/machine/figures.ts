// What the kernel says about the processes of a peer: processor time, memory, wake-ups (proc(5)).

import { readdirSync, readFileSync } from "node:fs";

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

/** For each thread of `pids`, how often it has gone to sleep, which is how often it woke up. */
export function sleepsOf(pids: number[]): Map<string, number> {
  const paths = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((id) => `/proc/${pid}/task/${id}`),
  );
  return new Map(paths.map((path) => [path, sleepsIn(`${path}/status`)]));
}

/** Returns how often the threads of `pids` woke up since `before`. Those that have exited meanwhile are forgotten. */
export function wakeUpsSince(before: Map<string, number>, pids: number[]): number {
  const counts = [...sleepsOf(pids)].map(([path, count]) => count - (before.get(path) ?? 0));
  return counts.reduce((total, count) => total + count, 0);
}

function sleepsIn(path: string): number {
  try {
    return Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(readFileSync(path, "latin1"))![1]);
  } catch {
    return 0; // It has exited since.
  }
}

/** Resolves when `pids` have taken no processor time for a moment, or after some seconds. */
export async function untilQuiet(pids: number[]): Promise<void> {
  for (let tries = 0, before = -1; tries < 50; tries++) {
    const now = processorTimeUs(pids);
    if (now === before) return;
    before = now;
    await Bun.sleep(100);
  }
}

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
