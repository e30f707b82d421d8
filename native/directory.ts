// A directory held open, and files in it by name: whatever is done to the path meanwhile, it is this directory that is written in.

import { closeSync, fstatSync, type Stats } from "node:fs";

import { cString } from "./c-data.ts";
import { check, libc } from "./libc.ts";

const AT_FDCWD = -100;
const O_WRONLY = 0o1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_CLOEXEC = 0x80000;
const O_PATH = 0x200000;
// These two have other values on aarch64 (fcntl.h).
const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
const O_NOFOLLOW = process.arch === "arm64" ? 0o100000 : 0o400000;

export class Directory {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens an absolute path, component by component; `mayPass` is asked about each directory and each symlink on the way and throws
   * where it may not. Throws SystemCallError.
   */
  static open(path: string, mayPass: (path: string, found: Stats) => void): Directory {
    let fd = openAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
    let walked = "";
    for (const name of path.split("/").filter((part) => part !== "" && part !== ".")) {
      walked += `/${name}`;
      const next = openAt(fd, name, O_PATH | O_NOFOLLOW);
      try {
        mayPass(walked, fstatSync(next));
        const previous = fd;
        // Follows a symlink, now that whoever could have put it there is known.
        fd = openAt(previous, name, O_PATH | O_DIRECTORY);
        closeSync(previous);
      } finally {
        closeSync(next);
      }
    }
    return new Directory(fd);
  }

  /** A new file, open for writing; fails with EEXIST if anything has that name. */
  create(name: string, mode: number): number {
    return openAt(this.#fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  }

  /** Gives a file another name here, in place of what had it. */
  rename(from: string, to: string): void {
    check("renameat", libc.renameat(this.#fd, cString(from), this.#fd, cString(to)));
  }

  remove(name: string): void {
    check("unlinkat", libc.unlinkat(this.#fd, cString(name), 0));
  }

  /** What has that name here; a symlink is not followed. */
  stat(name: string): Stats {
    const fd = openAt(this.#fd, name, O_PATH | O_NOFOLLOW);
    try {
      return fstatSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openAt(fd: number, name: string, flags: number, mode = 0): number {
  return check("openat", libc.openat(fd, cString(name), flags | O_CLOEXEC, mode));
}
