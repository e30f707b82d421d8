// What a path leads to, without opening it.

import { cString, type Encoding } from "../ffi/c-data.ts";
import { libc } from "../ffi/libc.ts";
import { AT_FDCWD, close, type FileStatus, O_CLOEXEC, O_PATH, statusOf } from "./files.ts";

const X_OK = 1;

/** Returns the status of what a path leads to; undefined if it leads to nothing, or this process may not look. Opens nothing but the path. */
export function statusAt(path: string, encoding: Encoding = "utf8"): FileStatus | undefined {
  const fd = libc.openat(AT_FDCWD, cString(path, encoding), O_PATH | O_CLOEXEC, 0);
  if (fd === -1) return undefined;
  try {
    return statusOf(fd);
  } finally {
    close(fd);
  }
}

/** Returns whether this process's user may execute the file, or search the directory (access(2)). */
export function isExecutable(path: string, encoding: Encoding = "utf8"): boolean {
  return libc.faccessat(AT_FDCWD, cString(path, encoding), X_OK, 0) === 0;
}
