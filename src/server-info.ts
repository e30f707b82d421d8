// The one-line file that tells programs where the proxy is: {"port":N,"pid":N}.

import { chownSync, closeSync, fchmodSync, fstatSync, mkdirSync, type Stats, writeSync } from "node:fs";
import { basename, dirname } from "node:path";

import { Directory } from "../native/directory.ts";
import { SystemCallError } from "../native/libc.ts";
import { randomHex } from "../native/memory.ts";
import { causeOf, UserError } from "./errors.ts";

/** A written file, which knows itself again by its inode. */
export type ServerInfo = {
  /** Removes the file if it is still the one that was written. */
  remove: () => void;
};

type Owner = { uid: number; gid: number };

/**
 * Makes the directory of the file where it is missing, and gives what it made to `owner`; looks at whether the file can be written
 * there, before anything is started. Throws UserError.
 */
export function prepareDirectory(path: string, owner?: Owner): void {
  try {
    const first = mkdirSync(dirname(path), { recursive: true });
    if (first !== undefined && owner !== undefined) {
      for (let made = dirname(path); made.length >= first.length; made = dirname(made)) {
        chownSync(made, owner.uid, owner.gid);
      }
    }
    const directory = openDirectory(path, owner?.uid);
    const isDirectory = statOf(directory, basename(path))?.isDirectory() === true;
    directory.close();
    if (isDirectory) throw new SystemCallError("open", EISDIR);
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

/** The file's directory, reached through nothing that a user other than root, ourselves and `owner` could have put in the way. */
function openDirectory(path: string, owner?: number): Directory {
  const trusted = [0, process.geteuid!(), owner];
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

const EISDIR = 21;

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
  EISDIR: "name a file in that directory",
  EACCES: "the user the proxy runs as must be able to write in that directory",
};
