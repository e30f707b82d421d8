// The action `stop`: ends what was started in this job, and prints its log. By now an agent may have had this user's rights, so nothing that it
// can write is obeyed. There is no key here.

import { closeSync, constants, fstatSync, openSync, readSync, rmSync } from "node:fs";

import { fail, printGroup, warn } from "./runner.ts";
import { type Started, startTimeOf, takeStarted } from "./started.ts";

/** The proxy's --shutdown-timeout is 10 s. */
const LIMIT_MS = 15_000;
const EVERY_MS = 50;
const MAX_LOG_BYTES = 1024 * 1024;

async function stop(): Promise<void> {
  for (const started of takeStarted()) {
    await end(started);
    removePublished(started);
    printGroup("responses-api-proxy", readLog(started.log));
  }
}

/** Ends the process if it is still the one that was started. */
async function end({ pid, since }: Started): Promise<void> {
  const isAlive = (): boolean => since !== undefined && startTimeOf(pid) === since;
  if (!isAlive()) return warn("responses-api-proxy had ended before the job did");
  signal(pid, "SIGTERM");
  for (const limit = Date.now() + LIMIT_MS; isAlive();) {
    if (Date.now() > limit) {
      signal(pid, "SIGKILL");
      return warn("responses-api-proxy did not end by itself");
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

/** Removes the copy of the server-info file, if it still names this proxy. */
function removePublished({ pid, published }: Started): void {
  try {
    if (new RegExp(`"pid":${Number(pid)}\\b`).test(readEnd(published) ?? "")) rmSync(published);
  } catch {
    // It is gone, or somebody else's.
  }
}

function readLog(path: string): string {
  try {
    return readEnd(path) ?? "(the log is no file any more)";
  } catch (error) {
    return `(no log: ${(error as NodeJS.ErrnoException).code})`;
  }
}

/** The end of a file, undefined if it is none: a symlink or a FIFO in its place is not the proxy's. Throws what opening throws. */
function readEnd(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const found = fstatSync(fd);
    if (!found.isFile()) return undefined;
    const space = Buffer.alloc(Math.min(found.size, MAX_LOG_BYTES));
    return space.toString("utf8", 0, readSync(fd, space, 0, space.length, found.size - space.length));
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

await stop().catch(fail);
