// --key-file: opening the file that holds the key, if nobody else could have put it there or may read it.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf } from "../../native/files/files.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";

const OTHERS = 0o007;
const GROUP_OR_OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
const GROUP_WRITE = 0o020;
const GROUP = 0o070;

/**
 * A descriptor for the file. It must be a plain file and no symlink, it and all directories on the way must belong to root or to the
 * user who starts us, nobody else may write in them (but where a sticky bit keeps what is there, as in /tmp) or it, and read it nobody but a group that root allows to. Throws UserError.
 */
export function openKeyFile(path: string): number {
  const refuse = (why: string, ...hints: string[]): UserError =>
    new UserError(`cannot read --key-file '${path}': ${why}`, undefined, hints);
  const trusted = [0, process.geteuid!()];
  const refuseOthers = (step: string, { kind, uid, mode }: FileStatus): void => {
    const isOpen = kind === "directory" && (mode & GROUP_OR_OTHERS_WRITE) !== 0 && (mode & STICKY) === 0;
    if (isOpen) throw refuse(`others may write in the directory ${step}`, `chmod go-w '${step}'`);
    if (trusted.includes(uid)) return;
    throw refuse(
      `the ${kind} ${step} is user ${uid}'s`,
      "it must belong to root or to the user who starts it",
    );
  };
  let fd: number | undefined;
  let isKubernetes = false;
  try {
    const directory = Directory.open(dirname(path), refuseOthers);
    isKubernetes = path.includes("/..data/") || directory.find("..data") !== undefined;
    fd = directory.read(basename(path));
    directory.close();
    const found = statusOf(fd);
    if (found.kind !== "file") throw refuse(`it is a ${found.kind}`);
    refuseOthers(path, found);
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

/** A container's secret is mounted with a mode that cannot be changed inside. */
function readableHints(path: string, isKubernetes: boolean): string[] {
  if (isKubernetes) return [KUBERNETES];
  return [
    `chmod 600 '${path}'`,
    `of a container's secret, whose mode is fixed: leave --key-file out and start with < '${path}'`,
  ];
}
