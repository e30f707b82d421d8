// --key-file: opens the file that holds the key if nobody else could have put it there or may read it. It reads nothing.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, reopen, statusOf } from "../../native/files/files.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { rootAndSelf, strangerAt } from "./owners.ts";

const OTHERS = 0o007;
const OTHERS_READ = 0o004;
const GROUP_WRITE = 0o020;
const GROUP = 0o070;

/**
 * Returns a descriptor for the file. Throws UserError unless
 * - it is a plain file;
 * - it and all directories and symlinks on the way belong to root or to the user who starts the proxy;
 * - nobody else may write to it or to those directories (except to sticky ones, as /tmp is);
 * - nobody else may read it, except a group if the file is root's, and except if it is a container's secret (`isSharedSecret`).
 *
 * A symlink is followed if it passes, as Kubernetes makes them (DIR/key → ..data/key). Each step is judged by what has been opened, and the file
 * that is read is the one that was judged, so it does not matter what the path leads to a moment later.
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
  let isKubernetes = false;
  let held: number | undefined;
  try {
    held = Directory.lookUp(path, (step, found) => {
      isKubernetes ||= step.includes("/..data");
      refuseStrangers(step, found);
    });
    const found = statusOf(held);
    if (found.kind !== "file") throw refuse(`it is a ${found.kind}`);
    const forbidden = OTHERS | (found.uid === 0 ? GROUP_WRITE : GROUP);
    if ((found.mode & forbidden) !== 0 && !isSharedSecret(found))
      throw refuse("others may read or write it", ...readableHints(path, isKubernetes));
    if (found.size === 0) throw refuse("it is empty");
    return reopen(held);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const cause = causeOf(error);
    if (cause !== "EACCES") throw refuse(cause);
    throw refuse(
      cause,
      isKubernetes ? KUBERNETES : `user ${process.geteuid!()}, who starts it, must be able to read it`,
    );
  } finally {
    if (held !== undefined) close(held);
  }
}

/**
 * Whether this is a secret as Docker, Compose and Podman mount it: root's, and readable for everybody in the container. The file is a mount of its
 * own, so root put it there, and its mode cannot be mended inside. It is accepted, but a gap in the protections: who else is in the container
 * reads the key. (A volume of Kubernetes is no such mount: there the mode is in the pod's description. Nor is what Compose 2.26 makes of a
 * secret from `environment:`, a copy in the container's layer.)
 */
export function isSharedSecret({ kind, isMountRoot, uid, mode }: FileStatus): boolean {
  return kind === "file" && isMountRoot && uid === 0 && (mode & (OTHERS | GROUP_WRITE)) === OTHERS_READ;
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
