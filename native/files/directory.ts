// A directory held open, and its files by name. A later change of the path does not redirect what is written.

import { cString } from "../ffi/c-data.ts";
import { check, ENOENT, libc, SystemCallError } from "../ffi/libc.ts";
import {
  close,
  type FileStatus,
  O_APPEND,
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
/** The kernel's own limit (path_resolution(7)). */
const MAX_SYMLINKS = 40;
const UNCHANGED = -1;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;

/** Throws if a path may not lead through this directory or symlink. */
type CheckStep = (path: string, found: FileStatus) => void;

export class Directory {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens an absolute path component by component. Calls `checkStep` for each directory and each symlink on
   * the way, `/` first, also for those that a symlink leads to. Throws SystemCallError, and what `checkStep` throws.
   */
  static open(path: string, checkStep: CheckStep): Directory {
    return new Directory(Directory.#walk(path, checkStep, openStep, { mayEndAtFile: false }));
  }

  /** Like `open`, but creates missing directories with mode 0755. */
  static make(path: string, checkStep: CheckStep): Directory {
    return new Directory(Directory.#walk(path, checkStep, openOrMake, { mayEndAtFile: false }));
  }

  /**
   * Like `open`, but the path may lead to anything, also by a symlink in its last place. Calls `checkStep` for what it leads to, too. Returns a
   * descriptor for nothing but its status: nothing has been opened that could wait or have an effect, such as a FIFO or a device.
   */
  static lookUp(path: string, checkStep: CheckStep): number {
    return Directory.#walk(path, checkStep, openStep, { mayEndAtFile: true });
  }

  static #walk(
    path: string,
    checkStep: CheckStep,
    openNext: (fd: number, name: string) => number,
    { mayEndAtFile }: { mayEndAtFile: boolean },
  ): number {
    const names = path.split("/");
    let fd = openRoot();
    // What was opened last, until it takes the place of `fd`.
    let next: number | undefined;
    let walked = "";
    let links = 0;
    try {
      // A container's or a chroot's can be anybody's, who could exchange all that lies in it.
      checkStep("/", statusOf(fd));
      for (let name = names.shift(); name !== undefined; name = names.shift()) {
        if (name === "" || name === ".") continue;
        next = openNext(fd, name);
        const found = statusOf(next);
        checkStep(`${walked}/${name}`, found);
        if (found.kind === "symlink") {
          if (++links > MAX_SYMLINKS) throw new SystemCallError("openat", ELOOP);
          const target = readLinkAt(next, "");
          close(next);
          next = undefined;
          names.unshift(...target.split("/"));
          if (!target.startsWith("/")) continue;
          next = openRoot();
          walked = "";
        } else if (found.kind === "directory") walked += `/${name}`;
        else if (!mayEndAtFile || names.length > 0) throw new SystemCallError("openat", ENOTDIR);
        close(fd);
        fd = next;
        next = undefined;
      }
      return fd;
    } catch (error) {
      // `wait` looks a hundred times a second.
      close(fd);
      if (next !== undefined) close(next);
      throw error;
    }
  }

  /** Device and inode, whatever path led here. Throws SystemCallError. */
  get identity(): string {
    return statusOf(this.#fd).identity;
  }

  /** Creates a file and returns a descriptor for writing. Throws SystemCallError: EEXIST if it exists. */
  create(name: string, mode: number): number {
    return openAt(this.#fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  }

  /**
   * Opens a file for appending, and creates it if it is missing. Does not wait for a FIFO. Throws SystemCallError: ELOOP for a symlink, ENXIO
   * for a FIFO that nobody reads.
   */
  append(name: string, mode: number): number {
    return openAt(this.#fd, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode);
  }

  /** Opens a file for reading. Does not wait for a FIFO. Throws SystemCallError: ELOOP for a symlink. */
  read(name: string): number {
    return openAt(this.#fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }

  /**
   * Gives a file that this process has just created, under a name nobody else can know, its group and then its mode; the group stays as it is
   * if it is undefined. Throws SystemCallError: EPERM for a group that the process is not in.
   */
  giveTo(name: string, mode: number, gid: number | undefined): void {
    if (gid !== undefined)
      check("fchownat", libc.fchownat(this.#fd, cString(name), UNCHANGED, gid, AT_SYMLINK_NOFOLLOW));
    check("fchmodat", libc.fchmodat(this.#fd, cString(name), mode, 0));
  }

  /** Opens a file for nothing but its identity, which the kernel gives to no other file while it is open. Throws SystemCallError. */
  hold(name: string): number {
    return openAt(this.#fd, name, O_PATH | O_NOFOLLOW);
  }

  /** A path of a file in this directory that leads nowhere else, however the directory is moved. Valid in this process, while it is open. */
  pathOf(name: string): string {
    return `/proc/self/fd/${this.#fd}/${name}`;
  }

  /** Renames a file in this directory and replaces a file named `to`. Throws SystemCallError. */
  rename(from: string, to: string): void {
    check("renameat", libc.renameat(this.#fd, cString(from), this.#fd, cString(to)));
  }

  /** Removes a file. Throws SystemCallError. */
  remove(name: string): void {
    check("unlinkat", libc.unlinkat(this.#fd, cString(name), 0));
  }

  /** Removes a file, or an empty directory, if it can. Ignores every error. */
  removeIfThere(name: string, kind: "file" | "directory" = "file"): void {
    libc.unlinkat(this.#fd, cString(name), kind === "file" ? 0 : AT_REMOVEDIR);
  }

  /** Creates a directory in this one. Throws SystemCallError. */
  makeDirectory(name: string, mode: number): void {
    check("mkdirat", libc.mkdirat(this.#fd, cString(name), mode));
  }

  /** Returns the status of a file, undefined if there is none. Follows no symlink. Throws SystemCallError. */
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

function openRoot(): number {
  return open("/", O_PATH | O_DIRECTORY);
}

function openStep(fd: number, name: string): number {
  return openAt(fd, name, O_PATH | O_NOFOLLOW);
}

function openOrMake(fd: number, name: string): number {
  const found = openUnless(ENOENT, fd, name, O_PATH | O_NOFOLLOW);
  if (found !== undefined) return found;
  check("mkdirat", libc.mkdirat(fd, cString(name), 0o755));
  return openAt(fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
}
