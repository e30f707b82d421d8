// What lies in a directory, by name (getdents64(2)). Not Bun.Glob, which leaves out FIFOs, sockets and devices (docs/bun.md).

import { check, libc, ptr } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";
import { close, O_DIRECTORY, O_RDONLY, open } from "./files.ts";

const SPACE_BYTES = 32_768;
// struct linux_dirent64 { __u64 d_ino; __s64 d_off; unsigned short d_reclen; unsigned char d_type; char d_name[]; }
const LENGTH_OFFSET = 16;
const NAME_OFFSET = 19;

/** Returns all names in the directory but `.` and `..`. Throws SystemCallError. */
export function entriesOf(directory: string): string[] {
  const names: string[] = [];
  hasEntry(directory, (name) => {
    names.push(name);
    return false;
  });
  return names;
}

/** Returns whether a name in the directory is one that is looked for; `.` and `..` are left out. Throws SystemCallError. */
export function hasEntry(directory: string, isLookedFor: (name: string) => boolean): boolean {
  const number = BigInt(syscallNumber("getdents64")!);
  const space = Buffer.alloc(SPACE_BYTES);
  const fd = open(directory, O_RDONLY | O_DIRECTORY);
  try {
    for (;;) {
      const result = libc.syscall(number, BigInt(fd), BigInt(ptr(space)), BigInt(SPACE_BYTES), 0n, 0n, 0n);
      const end = check("getdents64", result);
      if (end === 0) return false;
      for (let at = 0; at < end; at += space.readUInt16LE(at + LENGTH_OFFSET)) {
        const start = at + NAME_OFFSET;
        const name = space.toString("utf8", start, space.indexOf(0, start));
        if (name !== "." && name !== ".." && isLookedFor(name)) return true;
      }
    }
  } finally {
    close(fd);
  }
}
