// What the process's user namespace means (user_namespaces(7)): whether its owner can read the process's memory, and which users it maps.
//
// The owner is the user who created the namespace, and has every capability in it, also from outside. So
// each of the owner's processes can use ptrace(2) and /proc/PID/mem on a process inside, dumpable or not.
// Rootless containers and bubblewrap are such namespaces.

import { AT_FDCWD, close, O_PATH, openAt, readTextIfThere, statusOf } from "../files/files.ts";

/**
 * Returns whether the owner of the process's user namespace can read its memory. False in two cases: in the
 * initial namespace, which is root's, and if the program's file is unreadable and belongs to a user outside
 * the namespace. In the second case execve(2) assigns the memory to an outer namespace. NOT seen: that the
 * outer one is another user's, too, as a sandbox in a rootless container is. Throws SystemCallError.
 */
export function isReadableByNamespaceOwner({ isReadable }: { isReadable: boolean }): boolean {
  const ranges = mappedRanges();
  if (mapsAll(ranges)) return false;
  return isReadable || isMapped(fileOwner(), ranges);
}

/** Returns whether the process is in the initial user namespace, for all that its map shows. Throws SystemCallError. */
export function isInitialNamespace(): boolean {
  return mapsAll(mappedRanges());
}

/**
 * Returns whether the user ID is one user's. All users that the namespace does not map appear as one, the overflow ID 65534, and so does the
 * process itself if its user is not mapped. If the overflow ID is mapped as well, as in most containers, that user cannot be told from those
 * outside, who then count as it. Throws SystemCallError.
 */
export function isMappedUser(uid: number): boolean {
  return isMapped(uid, mappedRanges());
}

/** Lines of `/proc/self/uid_map`: first ID inside, first ID outside, count. A kernel without user namespaces has no such file. */
function mappedRanges(): number[][] {
  const lines = (readTextIfThere("/proc/self/uid_map") ?? "0 0 4294967295").trim().split("\n");
  return lines.filter((line) => line !== "").map((line) => line.trim().split(/\s+/).map(Number));
}

function mapsAll(ranges: readonly number[][]): boolean {
  return ranges.length === 1 && ranges[0]!.join() === "0,0,4294967295";
}

/** The owner of the program's file. An outside owner appears as the overflow ID, which is not mapped. */
function fileOwner(): number {
  const fd = openAt(AT_FDCWD, "/proc/self/exe", O_PATH);
  try {
    return statusOf(fd).uid;
  } finally {
    close(fd);
  }
}

function isMapped(uid: number, ranges: readonly number[][]): boolean {
  return ranges.some(([inside = 0, , count = 0]) => uid >= inside && uid < inside + count);
}
