// The directory of --dump-dir: ours, and nobody else's.

import { Directory } from "../../native/files/directory.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";

const OTHERS = 0o077;

/**
 * The directory, made with mode 0700 where it is missing. One that is there must be ours and closed to everybody else, and nobody else
 * may have a hand in the way to it. Throws UserError.
 */
export function openDumpDirectory(path: string): Directory {
  const refuse = (why: string, ...hints: string[]): UserError =>
    new UserError(`cannot write --dump-dir '${path}': ${why}`, undefined, hints);
  const uid = process.geteuid!();
  const mayPass: Parameters<typeof Directory.make>[1] = (step, found) => {
    if (found.uid === 0 || found.uid === uid) return;
    throw refuse(`the ${found.kind} ${step} is user ${found.uid}'s`);
  };
  try {
    const parent = Directory.make(dirname(path), mayPass);
    if (parent.find(basename(path)) === undefined) parent.makeDirectory(basename(path), 0o700);
    const found = parent.find(basename(path))!;
    parent.close();
    if (found.kind !== "directory") throw refuse(`it is a ${found.kind}`);
    if (found.uid !== uid)
      throw refuse(`it is user ${found.uid}'s`, "name a directory of the user the proxy runs as");
    if ((found.mode & OTHERS) !== 0) throw refuse("others have rights to it", `chmod 700 '${path}'`);
    return Directory.open(path, mayPass);
  } catch (error) {
    throw error instanceof UserError ? error : refuse(causeOf(error));
  }
}
