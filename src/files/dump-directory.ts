// The directory of --dump-dir: closed to everybody but the user the proxy runs as.

import { Directory } from "../../native/files/directory.ts";
import type { FileStatus } from "../../native/files/files.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
import { rootAndSelf } from "./owners.ts";

const OTHERS = 0o077;

/**
 * Opens the directory, and creates it with mode 0700 if it is missing. Throws UserError if it is another user's or open to others, or if a
 * directory or symlink on the way is another user's.
 */
export function openDumpDirectory(path: string): Directory {
  const refuse = (why: string, ...hints: string[]): UserError =>
    new UserError(`cannot write --dump-dir '${path}': ${why}`, undefined, hints);
  const uid = process.geteuid!();
  const trusted = rootAndSelf();
  const mayPass: Parameters<typeof Directory.make>[1] = (step, found) => {
    if (trusted.includes(found.uid)) return;
    throw refuse(`the ${found.kind} ${step} is user ${found.uid}'s`);
  };
  try {
    const found = findOrMake(Directory.make(dirname(path), mayPass), basename(path));
    if (found.kind !== "directory") throw refuse(`it is a ${found.kind}`);
    if (found.uid !== uid)
      throw refuse(`it is user ${found.uid}'s`, "name a directory of the user the proxy runs as");
    if ((found.mode & OTHERS) !== 0) throw refuse("others have rights to it", `chmod 700 '${path}'`);
    return Directory.open(path, mayPass);
  } catch (error) {
    throw error instanceof UserError ? error : refuse(causeOf(error));
  }
}

/** Returns what has that name there, a new directory if nothing had; closes the parent. */
function findOrMake(parent: Directory, name: string): FileStatus {
  try {
    if (parent.find(name) === undefined) parent.makeDirectory(name, 0o700);
    return parent.find(name)!;
  } finally {
    parent.close();
  }
}
