// Files by descriptor: open, read, write, and their status.
//
// Without node:fs, which is slow to load. Besides, the owner of a file decides about security here, and
// statx(2) is a single system call with a man page.

import { ARCHITECTURE } from "../ffi/architecture.ts";
import { cString, type Encoding, pinned, struct } from "../ffi/c-data.ts";
import { check, ENOENT, errno, libc, ptr, SystemCallError } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";

/** As a directory's descriptor: relative paths start at the working directory. */
export const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000n;
const STATX_BASIC_STATS = 0x7ffn;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
export const O_CLOEXEC = 0x80000;

export const O_RDONLY = 0;
export const O_WRONLY = 0o1;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_PATH = 0o10000000;
// These two differ on aarch64 (asm/fcntl.h).
export const O_DIRECTORY = ARCHITECTURE === "arm64" ? 0o40000 : 0o200000;
export const O_NOFOLLOW = ARCHITECTURE === "arm64" ? 0o100000 : 0o400000;
export const O_TMPFILE = 0o20000000 | O_DIRECTORY;

/** Not made at each call: a block that nothing refers to any more can be collected between ptr() and the system call. */
const EMPTY_PATH = cString("");

/** Kinds by the four type bits of a mode (inode(7)). */
const KINDS: Record<number, FileStatus["kind"]> = {
  0o01: "FIFO",
  0o02: "device",
  0o04: "directory",
  0o06: "device",
  0o10: "file",
  0o12: "symlink",
  0o14: "socket",
};

export type FileStatus = Readonly<{
  kind: "file" | "directory" | "symlink" | "FIFO" | "socket" | "device" | "unknown";
  uid: number;
  /** Permission bits, with set-user-ID, set-group-ID and the sticky bit. */
  mode: number;
  /** In bytes. */
  size: number;
  /** Time of the last change of the content. */
  modified: Date;
  /** Device and inode. Two equal values are the same file. */
  identity: string;
  /** st_dev:st_ino in decimal, as in JOURNAL_STREAM (systemd.exec(5)). */
  streamName: string;
  /** Whether it was mounted by itself, as a container's secret is, or is what a file system begins with. */
  isMountRoot: boolean;
  /** major:minor of a device file; 0:0 for any other file. */
  device: string;
}>;

/** Returns the status of an open file (statx(2)). Throws SystemCallError. */
export function statusOf(fd: number): FileStatus {
  const statx = struct();
  const number = BigInt(syscallNumber("statx")!);
  const [path, space] = [BigInt(ptr(EMPTY_PATH)), BigInt(ptr(statx))];
  check("statx", libc.syscall(number, BigInt(fd), path, AT_EMPTY_PATH, STATX_BASIC_STATS, space, 0n));
  // struct statx: __u64 stx_attributes at 8, __u32 stx_uid at 20, __u16 stx_mode at 28, __u64 stx_ino at 32, __u64 stx_size at 40,
  // stx_mtime at 112 (__s64 tv_sec, __u32 tv_nsec),
  // __u32 stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor from 128
  const mode = statx.readUInt16LE(28);
  const [inode, major, minor] = [statx.readBigUInt64LE(32), statx.readUInt32LE(136), statx.readUInt32LE(140)];
  return {
    kind: KINDS[mode >> 12] ?? "unknown",
    uid: statx.readUInt32LE(20),
    mode: mode & 0o7777,
    size: Number(statx.readBigUInt64LE(40)),
    modified: new Date(Number(statx.readBigInt64LE(112)) * 1000 + statx.readUInt32LE(120) / 1e6),
    identity: `${major}:${minor}:${inode}`,
    streamName: `${makeDevice(BigInt(major), BigInt(minor))}:${inode}`,
    isMountRoot: (statx.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n,
    device: `${statx.readUInt32LE(128)}:${statx.readUInt32LE(132)}`,
  };
}

/** st_dev from its two parts, as makedev(3) has it. */
function makeDevice(major: bigint, minor: bigint): bigint {
  const high = ((major & 0xfffff000n) << 32n) | ((minor & 0xffffff00n) << 12n);
  return high | ((major & 0xfffn) << 8n) | (minor & 0xffn);
}

/** Opens a path and returns its descriptor, close-on-exec. Throws SystemCallError. */
export function open(path: string, flags: number, encoding: Encoding = "utf8"): number {
  return check("open", libc.openat(AT_FDCWD, cString(path, encoding), flags | O_CLOEXEC, 0));
}

/** Like `open`, for a path relative to an open directory. */
export function openAt(directory: number, path: string, flags: number, mode = 0): number {
  return check("open", libc.openat(directory, cString(path), flags | O_CLOEXEC, mode));
}

/** Like `openAt`, but returns undefined if it fails with errno `reason`. Throwing is slow at the start. */
export function openUnless(
  reason: number,
  directory: number,
  path: string,
  flags: number,
): number | undefined {
  const fd = libc.openat(directory, cString(path), flags | O_CLOEXEC, 0);
  if (fd === -1 && errno() === reason) return undefined;
  return check("open", fd);
}

/** Opens the file of an O_PATH descriptor for reading, whatever its path leads to by now. Throws SystemCallError. */
export function reopen(fd: number): number {
  return open(`/proc/self/fd/${fd}`, O_RDONLY | O_NONBLOCK);
}

/** Returns the errno of opening the path, 0 if it can be opened. Leaves nothing open. */
export function openErrno(path: string, flags: number): number {
  const fd = libc.openat(AT_FDCWD, cString(path), flags | O_CLOEXEC, 0);
  if (fd === -1) return errno();
  close(fd);
  return 0;
}

export function close(fd: number): void {
  libc.close(fd);
}

/** Returns the content of a file. Not for secrets: its buffers are not wiped. Throws SystemCallError. */
export function readText(path: string): string {
  const fd = open(path, O_RDONLY);
  try {
    let space = Buffer.alloc(16_384);
    for (let length = 0; ;) {
      if (length > space.length / 2) space = Buffer.concat([space], space.length * 2);
      const rest = space.subarray(length);
      const count = check("read", libc.read(fd, rest, BigInt(rest.length)));
      if (count === 0) return space.toString("utf8", 0, length);
      length += count;
    }
  } finally {
    close(fd);
  }
}

/** Like `readText`, but returns undefined if there is no such file. Throws SystemCallError. */
export function readTextIfThere(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (error instanceof SystemCallError && error.errno === ENOENT) return undefined;
    throw error;
  }
}

/** Sets the permission bits of an open file; the umask does not apply (fchmod(2)). Throws SystemCallError. */
export function changeMode(fd: number, mode: number): void {
  check("fchmod", libc.fchmod(fd, mode));
}

/** Writes all of the bytes. Throws SystemCallError; some of them may be written by then. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let rest = pinned(bytes), length = bytes.byteLength; length > 0;) {
    const count = check("write", libc.write(fd, rest, BigInt(length)));
    rest = rest.subarray(count);
    length -= count;
  }
}

/** Reads from an offset into `space`. Returns the number of bytes, 0 at the end. Throws SystemCallError. */
export function readAt(fd: number, space: Uint8Array, offset: number): number {
  return check("pread", libc.pread(fd, space, BigInt(space.byteLength), BigInt(offset)));
}

/** Returns the target of a symlink. Throws SystemCallError. */
export function readLink(path: string): string {
  return readLinkAt(AT_FDCWD, path);
}

/**
 * Like `readLink`, for a path relative to `fd`. The empty path is the symlink `fd` itself (readlinkat(2)).
 */
export function readLinkAt(fd: number, path: string): string {
  const target = Buffer.alloc(4096);
  const length = check("readlinkat", libc.readlinkat(fd, cString(path), target, BigInt(target.length)));
  return target.toString("utf8", 0, length);
}
