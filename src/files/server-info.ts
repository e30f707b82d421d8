// The one-line file that tells programs where the proxy is: {"port":N,"pid":N}.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf, writeAll } from "../../native/files/files.ts";
import { randomHex } from "../../native/process/memory.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";

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
    const found = directory.find(basename(path));
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
  try {
    const directory = openDirectory(path);
    const found = directory.find(name);
    if (found !== undefined) refuseToReplace(path, found);
    const { identity } = put(directory, temporary, name, text);
    return { remove: () => removeIfStill(directory, name, identity) };
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** The file's directory, reached through nothing that a user other than root and ourselves could have put in the way. */
function openDirectory(path: string): Directory {
  const trusted = [0, process.geteuid!()];
  return Directory.make(dirname(path), (step, found) => {
    if (trusted.includes(found.uid)) return;
    throw new UserError(
      `cannot write --server-info '${path}': the ${found.kind} ${step} is user ${found.uid}'s`,
      undefined,
      ["name a file in a directory that belongs to root or to the user the proxy runs as"],
    );
  });
}

/** A file, a symlink and a FIFO may be in the way by mistake or malice; a directory, a device or a socket has a use of its own. */
function refuseToReplace(path: string, found: FileStatus): void {
  if (["file", "symlink", "FIFO"].includes(found.kind)) return;
  throw new UserError(`cannot write --server-info '${path}': it is a ${found.kind}`, undefined, [
    "name a file that may be replaced",
  ]);
}

/**
 * Writes the whole text under the temporary name and renames it; on a full disk, say, nothing stays of it. Clients are other users, who must
 * be able to read the file: that is why the umask is set before the second start.
 */
function put(directory: Directory, temporary: string, name: string, text: string): FileStatus {
  const fd = directory.create(temporary, 0o644);
  try {
    writeAll(fd, Buffer.from(text));
    const written = statusOf(fd);
    directory.rename(temporary, name);
    return written;
  } catch (error) {
    directory.removeIfThere(temporary);
    throw error;
  } finally {
    close(fd);
  }
}

function removeIfStill(directory: Directory, name: string, identity: string): void {
  try {
    if (directory.find(name)?.identity === identity) directory.remove(name);
  } catch {
    // With no descriptor left, say. A file that stays is no reason for an end that fails.
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
  // What rename(2) says in /tmp and its like.
  EPERM: "it is another user's file, which a sticky directory keeps: name a path in a directory of your own",
  EROFS: "name a path on a file system that can be written",
  ENOSPC: "make room there, or name a path on another file system",
};
