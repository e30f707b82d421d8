// In which user namespace the process is (user_namespaces(7)), and who can look into it because of that.
//
// The owner of a user namespace, the user who made it, has every capability in it, from outside, too: ptrace(2) and /proc/PID/mem of a process
// inside are open to each of that user's processes, dumpable or not. This is so in rootless containers and in bubblewrap.

import { AT_FDCWD, close, O_PATH, openAt, readText, statusOf } from "../files/files.ts";

/**
 * Whether the owner of the process's user namespace can look into it. Not in the first of all namespaces, which is root's; and not if the
 * process cannot read its own file, and that belongs to somebody outside: then the kernel counts its memory to the namespace outside (execve(2)).
 */
export function isOpenToNamespaceOwner({ isReadable }: { isReadable: boolean }): boolean {
  const ranges = mappedRanges();
  if (ranges.length === 1 && ranges[0]!.join() === "0,0,4294967295") return false;
  return isReadable || isMapped(fileOwner(), ranges);
}

/** Lines of `/proc/self/uid_map`: first ID inside, first ID outside, how many. */
function mappedRanges(): number[][] {
  const lines = readText("/proc/self/uid_map").trim().split("\n");
  return lines.map((line) => line.trim().split(/\s+/).map(Number));
}

/** The owner of the program's file; an owner from outside shows as the overflow ID, which is nobody's inside. */
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
