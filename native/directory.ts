// A directory held open, and files in it by name: whatever is done to the path meanwhile, it is this directory that is written in.

import { closeSync, fstatSync, type Stats } from "node:fs";

import { cString } from "./c-data.ts";
import { check, ENOENT, libc, SystemCallError } from "./libc.ts";

const ENOTDIR = 20;
const ELOOP = 40;
/** As many as the kernel follows (path_resolution(7)). */
const MAX_SYMLINKS = 40;
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
   * Opens an absolute path component by component, and makes those that are missing (mode 0755). `mayPass` is asked about each
   * directory and each symlink on the way, what a symlink leads to included, and throws where it may not. Throws SystemCallError.
   */
  static open(path: string, mayPass: (path: string, found: Stats) => void): Directory {
    const names = path.split("/");
    let fd = openAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
    let walked = "";
    let links = 0;
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === "" || name === ".") continue;
      const next = openOrMake(fd, name);
      const found = fstatSync(next);
      mayPass(`${walked}/${name}`, found);
      if (found.isSymbolicLink()) {
        if (++links > MAX_SYMLINKS) throw new SystemCallError("openat", ELOOP);
        const target = readLink(next);
        closeSync(next);
        names.unshift(...target.split("/"));
        if (!target.startsWith("/")) continue;
        closeSync(fd);
        fd = openAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
        walked = "";
        continue;
      }
      if (!found.isDirectory()) throw new SystemCallError("openat", ENOTDIR);
      closeSync(fd);
      fd = next;
      walked += `/${name}`;
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

function openOrMake(fd: number, name: string): number {
  try {
    return openAt(fd, name, O_PATH | O_NOFOLLOW);
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.errno !== ENOENT) throw error;
    check("mkdirat", libc.mkdirat(fd, cString(name), 0o755));
    return openAt(fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
  }
}

/** Where the symlink that was opened leads: readlinkat(2) with an empty path. */
function readLink(fd: number): string {
  const target = Buffer.alloc(4096);
  const length = check("readlinkat", libc.readlinkat(fd, cString(""), target, BigInt(target.length)));
  return target.toString("utf8", 0, length);
}

function openAt(fd: number, name: string, flags: number, mode = 0): number {
  return check("openat", libc.openat(fd, cString(name), flags | O_CLOEXEC, mode));
}
