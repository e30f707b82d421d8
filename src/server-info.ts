// The one-line file that tells programs where the proxy is: {"port":N,"pid":N}.

import { closeSync, fchmodSync, fstatSync, type Stats, writeSync } from "node:fs";
import { basename, dirname } from "node:path";

import { Directory } from "../native/directory.ts";
import { randomHex } from "../native/memory.ts";
import { causeOf, UserError } from "./errors.ts";

/** A written file, which knows itself again by its inode. */
export type ServerInfo = {
  /** Removes the file if it is still the one that was written. */
  remove: () => void;
};

/**
 * Makes the directory of the file where it is missing, and looks at whether the file can be written there, before anything is
 * started. Goes after the change of user, so that nothing is made or followed as root that another could point elsewhere.
 * Throws UserError.
 */
export function prepareDirectory(path: string): void {
  try {
    const directory = openDirectory(path);
    const found = statOf(directory, basename(path));
    directory.close();
    if (found !== undefined) refuseToReplace(path, found);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/**
 * Writes the file under another name beside `path` and renames it, so that nobody reads half of it, a symlink or a FIFO at `path` is
 * replaced and never followed or waited for, and a file of somebody else's does not stay theirs. Throws UserError.
 */
export function writeServerInfo(path: string, port: number): ServerInfo {
  const text = `${JSON.stringify({ port, pid: process.pid })}\n`;
  const name = basename(path);
  // A name nobody can guess, so nobody can be there first; creating it fails if somebody is all the same.
  const temporary = `${name}.${randomHex(16)}.tmp`;
  let directory: Directory | undefined;
  let written: Stats | undefined;
  try {
    directory = openDirectory(path);
    const found = statOf(directory, name);
    if (found !== undefined) refuseToReplace(path, found);
    written = create(directory, temporary, text);
    directory.rename(temporary, name);
  } catch (error) {
    if (written !== undefined) directory?.remove(temporary);
    throw cannotWrite(path, error);
  }
  const held = directory;
  const { dev, ino } = written;
  return {
    remove: () => {
      const found = statOf(held, name);
      if (found?.dev === dev && found.ino === ino) held.remove(name);
    },
  };
}

/** The file's directory, reached through nothing that a user other than root and ourselves could have put in the way. */
function openDirectory(path: string): Directory {
  const trusted = [0, process.geteuid!()];
  return Directory.open(dirname(path), (step, found) => {
    if (trusted.includes(found.uid)) return;
    const what = found.isSymbolicLink() ? "symlink" : "directory";
    throw new UserError(
      `cannot write --server-info '${path}': the ${what} ${step} is user ${found.uid}'s`,
      undefined,
      ["name a file in a directory that belongs to root or to the user the proxy runs as"],
    );
  });
}

/** A file, a symlink and a FIFO may be in the way by mistake or malice; a directory, a device or a socket has a use of its own. */
function refuseToReplace(path: string, found: Stats): void {
  if (found.isFile() || found.isSymbolicLink() || found.isFIFO()) return;
  const what = found.isDirectory() ? "directory" : found.isSocket() ? "socket" : "device";
  throw new UserError(`cannot write --server-info '${path}': it is a ${what}`, undefined, [
    "name a file that may be replaced",
  ]);
}

function create(directory: Directory, name: string, text: string): Stats {
  const fd = directory.create(name, 0o644);
  try {
    writeSync(fd, text);
    // Clients are other users, whatever the umask says.
    fchmodSync(fd, 0o644);
    return fstatSync(fd);
  } finally {
    closeSync(fd);
  }
}

function statOf(directory: Directory, name: string): Stats | undefined {
  try {
    return directory.stat(name);
  } catch {
    return undefined;
  }
}

function cannotWrite(path: string, error: unknown): UserError {
  if (error instanceof UserError) return error;
  const cause = causeOf(error);
  const hint = HINTS[cause];
  return new UserError(
    `cannot write --server-info '${path}' (${cause})`,
    undefined,
    hint === undefined ? [] : [hint],
  );
}

const HINTS: Record<string, string> = {
  EACCES: "the user the proxy runs as must be able to write in that directory",
};
