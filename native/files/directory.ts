// A directory held open, and files in it by name: whatever is done to the path meanwhile, it is this directory that is written in.

import { cString } from "../ffi/c-data.ts";
import { check, ENOENT, libc, SystemCallError } from "../ffi/libc.ts";
import {
  close,
  type FileStatus,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  open,
  openAt,
  openUnless,
  readLinkAt,
  statusOf,
} from "./files.ts";

const ENOTDIR = 20;
const ELOOP = 40;
/** As many as the kernel follows (path_resolution(7)). */
const MAX_SYMLINKS = 40;

type MayPass = (path: string, found: FileStatus) => void;

export class Directory {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens an absolute path component by component. `mayPass` is asked about each directory and each symlink on the way, what a
   * symlink leads to included, and throws where it may not. Throws SystemCallError.
   */
  static open(path: string, mayPass: MayPass): Directory {
    return Directory.#walk(path, mayPass, (fd, name) => openAt(fd, name, O_PATH | O_NOFOLLOW));
  }

  /** The same, and makes what is missing (mode 0755). */
  static make(path: string, mayPass: MayPass): Directory {
    return Directory.#walk(path, mayPass, openOrMake);
  }

  static #walk(path: string, mayPass: MayPass, openNext: (fd: number, name: string) => number): Directory {
    const names = path.split("/");
    let fd = open("/", O_PATH | O_DIRECTORY);
    let walked = "";
    let links = 0;
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === "" || name === ".") continue;
      const next = openNext(fd, name);
      const found = statusOf(next);
      mayPass(`${walked}/${name}`, found);
      if (found.kind === "symlink") {
        if (++links > MAX_SYMLINKS) throw new SystemCallError("openat", ELOOP);
        const target = readLinkAt(next, "");
        close(next);
        names.unshift(...target.split("/"));
        if (!target.startsWith("/")) continue;
        close(fd);
        fd = open("/", O_PATH | O_DIRECTORY);
        walked = "";
        continue;
      }
      if (found.kind !== "directory") throw new SystemCallError("openat", ENOTDIR);
      close(fd);
      fd = next;
      walked += `/${name}`;
    }
    return new Directory(fd);
  }

  /** A new file, open for writing; fails with EEXIST if anything has that name. */
  create(name: string, mode: number): number {
    return openAt(this.#fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  }

  /** Opens a file for reading; a symlink is not followed (ELOOP), and a FIFO is not waited for. */
  read(name: string): number {
    return openAt(this.#fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }

  /** Gives a file another name here, in place of what had it. */
  rename(from: string, to: string): void {
    check("renameat", libc.renameat(this.#fd, cString(from), this.#fd, cString(to)));
  }

  remove(name: string): void {
    check("unlinkat", libc.unlinkat(this.#fd, cString(name), 0));
  }

  /** Does nothing where nothing has that name, or it cannot be removed. */
  removeIfThere(name: string): void {
    libc.unlinkat(this.#fd, cString(name), 0);
  }

  /** A new directory in this one. */
  makeDirectory(name: string, mode: number): void {
    check("mkdirat", libc.mkdirat(this.#fd, cString(name), mode));
  }

  /** What has that name here, undefined where nothing has; a symlink is not followed. */
  find(name: string): FileStatus | undefined {
    const fd = openUnless(ENOENT, this.#fd, name, O_PATH | O_NOFOLLOW);
    if (fd === undefined) return undefined;
    try {
      return statusOf(fd);
    } finally {
      close(fd);
    }
  }

  close(): void {
    close(this.#fd);
  }
}

function openOrMake(fd: number, name: string): number {
  const found = openUnless(ENOENT, fd, name, O_PATH | O_NOFOLLOW);
  if (found !== undefined) return found;
  check("mkdirat", libc.mkdirat(fd, cString(name), 0o755));
  return openAt(fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
}
