// Who, besides the users that are trusted, could have put a file where it is: the owners and modes of it and of all directories on the way.

import type { FileStatus } from "../../native/files/files.ts";
import { isMappedUser } from "../../native/process/namespace.ts";

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** Root, and the user the process runs as; without the latter if the user namespace does not map it, since its ID is then that of many. */
export function rootAndSelf(): readonly number[] {
  const self = process.geteuid!();
  return isMappedUser(self) ? [0, self] : [0];
}

/**
 * Returns the user ID of an owner who is not trusted, "others" if the mode lets more users write there, undefined if only the trusted users
 * can. In a sticky directory everybody may create files, but only the owner of a file may replace it (inode(7)).
 */
export function strangerAt(
  { kind, uid, mode }: FileStatus,
  trusted: readonly number[],
): number | "others" | undefined {
  if (!trusted.includes(uid)) return uid;
  if (kind === "symlink" || (mode & WRITABLE_BY_OTHERS) === 0) return undefined;
  return kind === "directory" && (mode & STICKY) !== 0 ? undefined : "others";
}
