// --key-file: opens the file that holds the key if nobody else could have put it there or may read it. It reads nothing.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf } from "../../native/files/files.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
import { rootAndSelf, strangerAt } from "./owners.ts";

const OTHERS = 0o007;
const GROUP_WRITE = 0o020;
const GROUP = 0o070;

/**
 * Returns a descriptor for the file. Throws UserError unless
 * - it is a plain file and no symlink;
 * - it and all directories on the way belong to root or to the user who starts the proxy;
 * - nobody else may write to it or to those directories (except to sticky ones, as /tmp is);
 * - nobody else may read it, except a group if the file is root's.
 */
export function openKeyFile(path: string): number {
  const refuse = (why: string, ...hints: string[]): UserError =>
    new UserError(`cannot read --key-file '${path}': ${why}`, undefined, hints);
  const trusted = rootAndSelf();
  const refuseStrangers = (step: string, found: FileStatus): void => {
    const stranger = strangerAt(found, trusted);
    if (typeof stranger === "number")
      throw refuse(
        `the ${found.kind} ${step} is user ${stranger}'s`,
        "it must belong to root or to the user who starts it",
      );
    if (stranger !== undefined && found.kind === "directory")
      throw refuse(`others may write to the directory ${step}`, `chmod go-w '${step}'`);
  };
  let fd: number | undefined;
  let isKubernetes = false;
  try {
    const directory = Directory.open(dirname(path), refuseStrangers);
    try {
      isKubernetes = path.includes("/..data/") || directory.find("..data") !== undefined;
      fd = directory.read(basename(path));
    } finally {
      directory.close();
    }
    const found = statusOf(fd);
    if (found.kind !== "file") throw refuse(`it is a ${found.kind}`);
    refuseStrangers(path, found);
    const forbidden = OTHERS | (found.uid === 0 ? GROUP_WRITE : GROUP);
    if ((found.mode & forbidden) !== 0)
      throw refuse("others may read or write it", ...readableHints(path, isKubernetes));
    return fd;
  } catch (error) {
    if (fd !== undefined) close(fd);
    if (error instanceof UserError) throw error;
    const cause = causeOf(error);
    if (cause !== "ELOOP") throw refuse(cause);
    const [directory, name] = [dirname(path), basename(path)];
    throw refuse(
      "it is a symlink",
      isKubernetes ? `name ${directory}/..data/${name}; ${KUBERNETES}` : "name the file itself",
    );
  }
}

const KUBERNETES = "the pod needs fsGroup, and the secret's volume defaultMode: 0440";

/** A container cannot change the mode of a secret that is mounted into it. */
function readableHints(path: string, isKubernetes: boolean): string[] {
  if (isKubernetes) return [KUBERNETES];
  return [
    `chmod 600 '${path}'`,
    `if its mode cannot be changed, as a container's secret: leave --key-file out and start with < '${path}'`,
  ];
}
