// What the kernel says of this process in /proc/self/status (proc_pid_status(5)).

import { readText } from "../files/files.ts";

export type Status = ReadonlyMap<string, string>;

/** All fields, by name. Throws SystemCallError. */
export function ownStatus(): Status {
  const lines = readText("/proc/self/status").trimEnd().split("\n");
  return new Map(lines.map((line) => line.split(":\t") as [string, string]));
}

/** One field. Throws Error where the kernel has none of that name. */
export function fieldOf(status: Status, name: string): string {
  const value = status.get(name);
  if (value === undefined) throw new Error(`no ${name} in /proc/self/status`);
  return value;
}
