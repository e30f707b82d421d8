// Writes the one-line file that tells programs where the proxy is: {"port":N,"pid":N}.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, readText, statusOf, writeAll } from "../../native/files/files.ts";
import { randomHex } from "../../native/process/memory.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
import * as terminal from "../base/terminal.ts";
import { rootAndSelf } from "./owners.ts";
import { readServerInfo } from "./server-info-reader.ts";

/** A file that was written; it recognises itself by its inode. */
export type ServerInfo = {
  /** Removes the file if it is still the one that was written. */
  remove: () => void;
};

/**
 * Creates the file's directory if it is missing, and checks that the file can be written there. Comes after the change of user, so that
 * root creates nothing and follows nothing that another user could point elsewhere. Warns if the file names a proxy that is running: two
 * proxies can share a file by mistake, and then nobody finds the first. Throws UserError.
 */
export function prepareServerInfo(path: string): void {
  try {
    const directory = openDirectory(path);
    const found = directory.find(basename(path));
    directory.close();
    if (found !== undefined) refuseToReplace(path, found);
  } catch (error) {
    throw cannotWrite(path, error);
  }
  const info = readServerInfo(path, rootAndSelf());
  if ("reason" in info || !isProxyProcess(info.pid)) return;
  terminal.warning(
    `'${path}' names a proxy that is running (pid ${info.pid}, port ${info.port}): it is replaced`,
    [`end that proxy (kill ${info.pid}), or give each a --server-info file of its own`],
  );
}

/** Whether the process is a proxy of this program, by the name that the second start gives it. */
export function isProxyProcess(pid: number): boolean {
  try {
    return readText(`/proc/${pid}/comm`) === `${PROCESS_NAME}\n`;
  } catch (error) {
    // It is gone, or /proc hides it (hidepid).
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

/** In ps(1) and top(1), at most 15 bytes. */
export const PROCESS_NAME = "responses-proxy";

/**
 * Writes the file under another name beside `path` and renames it. So nobody reads half of it, a symlink or a FIFO at `path` is replaced
 * and never followed or waited for, and a file that belonged to another user does not stay theirs. Throws UserError.
 */
export function writeServerInfo(path: string, port: number): ServerInfo {
  const text = `${JSON.stringify({ port, pid: process.pid })}\n`;
  const name = basename(path);
  // Nobody can guess this name and create it first; if somebody did, creating it fails.
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

/** Opens the file's directory. Only root and the proxy's own user may own what lies on the way. */
function openDirectory(path: string): Directory {
  const trusted = rootAndSelf();
  return Directory.make(dirname(path), (step, found) => {
    if (trusted.includes(found.uid)) return;
    throw new UserError(
      `cannot write --server-info '${path}': the ${found.kind} ${step} is user ${found.uid}'s`,
      undefined,
      ["name a file in a directory that belongs to root or to the user the proxy runs as"],
    );
  });
}

/** A file, a symlink or a FIFO may be there by mistake or malice; a directory, a device or a socket has another use. */
function refuseToReplace(path: string, found: FileStatus): void {
  if (["file", "symlink", "FIFO"].includes(found.kind)) return;
  throw new UserError(`cannot write --server-info '${path}': it is a ${found.kind}`, undefined, [
    "name a file that may be replaced",
  ]);
}

/**
 * Writes the whole text under the temporary name and renames it. If that fails, as on a full disk, nothing of it stays. Clients are other
 * users and must be able to read the file, so the first start sets the umask.
 */
function put(directory: Directory, temporary: string, name: string, text: string): FileStatus {
  const fd = directory.create(temporary, 0o644);
  try {
    writeAll(fd, Buffer.from(text));
    const written = statusOf(fd);
    directory.rename(temporary, name);
    // Stays open: otherwise the kernel can give the inode to another proxy's file, which would then be removed as this one's.
    return written;
  } catch (error) {
    directory.removeIfThere(temporary);
    close(fd);
    throw error;
  }
}

function removeIfStill(directory: Directory, name: string, identity: string): void {
  try {
    if (directory.find(name)?.identity === identity) directory.remove(name);
  } catch {
    // No descriptor may be left. A file that stays is no reason to fail at the end.
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
