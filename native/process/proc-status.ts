// The fields of /proc/self/status (proc_pid_status(5)).

import { readText } from "../files/files.ts";

/** The text of the file. The kernel escapes line breaks in the process's name. */
export type Status = string;

/** Returns all fields. Throws SystemCallError. */
export function ownStatus(): Status {
  return readText("/proc/self/status");
}

/** Returns how many threads the process has. Throws SystemCallError. */
export function threadCount(): number {
  return Number(fieldOf(ownStatus(), "Threads"));
}

/** Returns the value of a field. Throws Error if there is no such field. */
export function fieldOf(status: Status, name: string): string {
  const label = `\n${name}:\t`;
  const at = status.indexOf(label);
  if (at === -1) throw new Error(`no ${name} in /proc/self/status`);
  const start = at + label.length;
  return status.slice(start, status.indexOf("\n", start));
}
