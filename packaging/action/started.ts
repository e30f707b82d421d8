// What has been started in this job: a line for each proxy, in a file that `stop` reads. There is no secret in it.

import { randomUUID } from "node:crypto";
import {
  appendFileSync,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { Failure, variable } from "./runner.ts";

export type Started = {
  pid: number;
  /** Its start time: the pid may be another process's by now. Undefined if the proxy did not start. */
  since: string | undefined;
  log: string;
  /** The copy of its server-info file, where others look for it. */
  published: string;
};

const file = (): string => join(variable("RUNNER_TEMP"), "responses-api-proxy.started");

export function note(started: Started): void {
  appendFileSync(file(), `${JSON.stringify(started)}\n`, { mode: 0o600 });
}

/** Copies the server-info file to where others look for it; what is there, a symlink too, is replaced. Throws Failure. */
export function publish(serverInfo: string, published: string): void {
  // Nobody can have put a symlink there.
  const temporary = `${published}.${randomUUID()}`;
  try {
    mkdirSync(dirname(published), { recursive: true });
    copyFileSync(serverInfo, temporary, constants.COPYFILE_EXCL);
    renameSync(temporary, published);
  } catch (error) {
    throw new Failure(`server-info cannot be written: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Returns what has been noted, and forgets it. */
export function takeStarted(): Started[] {
  try {
    const lines = readFileSync(file(), "utf8").trim().split("\n");
    rmSync(file());
    return lines.map((line) => JSON.parse(line) as Started);
  } catch {
    return [];
  }
}

/** Returns when a process started, in clock ticks since the boot; undefined if there is none (proc_pid_stat(5), field 22). */
export function startTimeOf(pid: number): string | undefined {
  try {
    // After the name, which may have anything in it but ends with the last bracket.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ")[19];
  } catch {
    return undefined;
  }
}
