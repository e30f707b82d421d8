// The fields of /proc/self/status (proc_pid_status(5)).

import { readText } from "../files/files.ts";

export type Status = ReadonlyMap<string, string>;

/** Returns all fields by name. Throws SystemCallError. */
export function ownStatus(): Status {
  const lines = readText("/proc/self/status").trimEnd().split("\n");
  return new Map(lines.map((line) => line.split(":\t") as [string, string]));
}

/** Returns the value of a field. Throws Error if there is no such field. */
export function fieldOf(status: Status, name: string): string {
  const value = status.get(name);
  if (value === undefined) throw new Error(`no ${name} in /proc/self/status`);
  return value;
}
