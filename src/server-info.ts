// The one-line file that tells programs where the proxy is: {"port":N,"pid":N}.

import {
  closeSync,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

import { randomHex } from "../native/memory.ts";
import { causeOf, UserError } from "./errors.ts";

/** A written file, which knows itself again by its inode. */
export type ServerInfo = {
  /** Removes the file if it is still the one that was written. */
  remove: () => void;
};

/**
 * Writes the file under another name beside `path` and renames it, so that nobody reads half of it, a symlink at `path` is replaced
 * and never followed, and a file of somebody else's does not stay theirs. Makes missing directories. Throws UserError.
 */
export function writeServerInfo(path: string, port: number): ServerInfo {
  const text = `${JSON.stringify({ port, pid: process.pid })}\n`;
  // A name nobody can guess, so nobody can be there first; O_EXCL ("x") fails if they are all the same.
  const temporary = `${path}.${randomHex(16)}.tmp`;
  let identity: string | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true });
    identity = create(temporary, text);
    renameSync(temporary, path);
  } catch (error) {
    if (identity !== undefined) unlinkSync(temporary);
    throw new UserError(
      `cannot write --server-info '${path}' (${causeOf(error)})`,
      undefined,
      hints(causeOf(error)),
    );
  }
  return { remove: () => removeIfOurs(path, identity) };
}

function create(path: string, text: string): string {
  const fd = openSync(path, "wx", 0o644);
  try {
    writeSync(fd, text);
    // Clients are other users, whatever the umask says.
    fchmodSync(fd, 0o644);
    return identify(fstatSync(fd));
  } finally {
    closeSync(fd);
  }
}

function removeIfOurs(path: string, identity: string): void {
  try {
    if (identify(lstatSync(path)) === identity) unlinkSync(path);
  } catch {
    // Gone already, or in a directory that is: there is nothing left to remove.
  }
}

function identify({ dev, ino }: { dev: number; ino: number }): string {
  return `${dev}:${ino}`;
}

function hints(cause: string): string[] {
  return cause === "EISDIR" ? ["name a file in that directory"] : [];
}
