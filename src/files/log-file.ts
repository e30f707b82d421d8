// The file of --log-file: appended to, created with mode 0600, and nobody else's.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf } from "../../native/files/files.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
import { rootAndSelf, strangerAt } from "./owners.ts";

const MODE = 0o600;
const WORDS: Readonly<Record<string, string>> = {
  ELOOP: "it is a symlink",
  EISDIR: "it is a directory",
  ENXIO: "it is a FIFO",
};

/**
 * Opens the file for appending; creates it if it is missing. Throws UserError if it is no plain file, or if it, or a directory or symlink on
 * the way, is another user's.
 */
export function openLogFile(path: string): number {
  const refuse = (why: string, ...hints: string[]): UserError =>
    new UserError(`cannot write --log-file '${path}': ${why}`, undefined, hints);
  const refuseStrangers = (step: string, found: FileStatus): void => {
    const stranger = strangerAt(found, rootAndSelf());
    if (typeof stranger === "number")
      throw refuse(
        `the ${found.kind} ${step} is user ${stranger}'s`,
        "name a file of the user the proxy runs as, in a directory of that user's or of root's",
      );
  };
  let fd: number | undefined;
  try {
    const directory = Directory.open(dirname(path), refuseStrangers);
    try {
      fd = directory.append(basename(path), MODE);
    } finally {
      directory.close();
    }
    const found = statusOf(fd);
    if (found.kind !== "file") throw refuse(`it is a ${found.kind}`);
    refuseStrangers(path, found);
    return fd;
  } catch (error) {
    if (fd !== undefined) close(fd);
    if (error instanceof UserError) throw error;
    const cause = causeOf(error);
    throw refuse(
      WORDS[cause] ?? cause,
      ...(cause === "EACCES" ? ["the user the proxy runs as must be able to write there"] : []),
      ...(cause === "ENOENT" ? [`create its directory first: mkdir -p '${dirname(path)}'`] : []),
    );
  }
}
