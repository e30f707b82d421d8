// What the kernel says of processes: who belongs to a group, the processor time they took, the memory they hold (proc(5)).

import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks a second of /proc/PID/stat: 100 on every architecture the program runs on (getconf CLK_TCK). */
const TICKS_PER_SECOND = 100;

/** The processes of a group. */
export function groupMembers(group: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => fields(pid)?.[FIELD.pgrp] === String(group));
}

/** User and system time all of `pids` have taken so far, in microseconds. */
export function processorTimeUs(pids: number[]): number {
  const ticks = pids.map((pid) => {
    const stat = fields(pid);
    return Number(stat?.[FIELD.utime] ?? 0) + Number(stat?.[FIELD.stime] ?? 0);
  });
  return (sum(ticks) / TICKS_PER_SECOND) * 1e6;
}

/** Resident memory of all of `pids` (VmRSS), in MB (10⁶ bytes); what two of them share counts twice. */
export function residentMB(pids: number[]): number {
  const kibibytes = pids.map((pid) =>
    Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0),
  );
  return (sum(kibibytes) * 1024) / 1e6;
}

// Counted from the field after the command's name, which may have spaces (proc_pid_stat(5), fields 3, 5, 14 and 15).
const FIELD = { pgrp: 2, utime: 11, stime: 12 };

function fields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // It has ended since.
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
