// File descriptors without the runtime's streams: unbuffered reads, dup2, close-on-exec, poll.

import { MIN_PINNED_BYTES, struct } from "../ffi/c-data.ts";
import { check, EAGAIN, EINTR, errno, libc, SystemCallError } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";
import { close, O_CLOEXEC, O_RDWR, open, statusOf } from "./files.ts";

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const ENODEV = 19;
/** Major and minor number of the null device (null(4)). */
const NULL_DEVICE = "1:3";
const POLLIN = 1;
const POLLOUT = 4;
const CLOSE_RANGE_CLOEXEC = 4n;
const PIECE_BYTES = 65_536;

/**
 * Calls read(2) once, directly into `space`. Returns the number of bytes, 0 at the end of input. Waits for
 * input even if the descriptor is non-blocking. Throws SystemCallError.
 */
export function readInto(fd: number, space: Uint8Array): number {
  for (;;) {
    const count = Number(libc.read(fd, space, BigInt(space.byteLength)));
    if (count >= 0) return count;
    const reason = errno();
    if (reason === EAGAIN) waitForInput(fd);
    else if (reason !== EINTR) throw new SystemCallError("read", reason);
  }
}

/** Like `readInto`, but a connection that is broken off, or anything else that fails, counts as the end. */
export function readOrEnd(fd: number, space: Uint8Array): number {
  try {
    return readInto(fd, space);
  } catch (error) {
    if (error instanceof SystemCallError) return 0;
    throw error;
  }
}

/** Reads up to the end, or to what counts as one (`readOrEnd`). Returns bytes that are in no other place: what they were read into is wiped. */
export function readToEnd(fd: number): Buffer {
  const pieces: Buffer[] = [];
  for (;;) {
    const piece = Buffer.alloc(PIECE_BYTES);
    const count = readOrEnd(fd, piece);
    if (count === 0) break;
    pieces.push(piece.subarray(0, count));
  }
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const all = Buffer.concat(pieces, Math.max(length, MIN_PINNED_BYTES)).subarray(0, length);
  for (const piece of pieces) piece.fill(0);
  return all;
}

/** Returns whether `fd` is a terminal (isatty(3)). Without node:tty, which is slow to load. */
export function isTerminal(fd: number): boolean {
  return libc.isatty(fd) === 1;
}

/** Makes `fd` refer to the open file of `from`, and closes `from` (dup2(2)). Throws SystemCallError. */
export function replaceBy(fd: number, from: number): void {
  check("dup2", libc.dup2(from, fd));
  if (from !== fd) close(from);
}

/** Makes `fd` refer to /dev/null, which closes its old file in this process. Throws SystemCallError. */
export function replaceByNullDevice(fd: number): void {
  replaceBy(fd, openNull());
}

/** Throws SystemCallError if /dev/null cannot be opened, or if it is not the null device (ENODEV). */
export function checkNullDevice(): void {
  close(openNull());
}

function openNull(): number {
  const fd = open("/dev/null", O_RDWR);
  if (statusOf(fd).device === NULL_DEVICE) return fd;
  close(fd);
  throw new SystemCallError("open", ENODEV);
}

/** Returns a second descriptor for the same open file: at least 3, close-on-exec. Throws SystemCallError. */
export function duplicate(fd: number): number {
  return check("fcntl", libc.fcntl(fd, F_DUPFD_CLOEXEC, 3n));
}

/**
 * Marks every descriptor from 3 on close-on-exec: those of the caller and those of the runtime
 * (close_range(2)). Throws SystemCallError.
 */
export function closeInheritedOnExec(): void {
  const result = libc.syscall(
    BigInt(syscallNumber("close_range")!),
    3n,
    0xffffffffn,
    CLOSE_RANGE_CLOEXEC,
    0n,
    0n,
    0n,
  );
  check("close_range", result);
}

/** Lets the programs that are executed later have the descriptor (F_SETFD, fcntl(2)). */
export function keepOnExec(fd: number): void {
  libc.fcntl(fd, F_SETFD, 0n);
}

/** Returns whether write(2) would not block: a pipe has room, a terminal is not stopped, or it is a file. */
export function isWritableNow(fd: number): boolean {
  return poll(fd, POLLOUT, 0);
}

/** Waits until a read(2) would not wait, because there are bytes or the end, a signal arrives or the time is over. Returns whether it would not wait. */
export function isReadableWithin(fd: number, timeoutMs: number): boolean {
  return poll(fd, POLLIN, timeoutMs);
}

/**
 * Waits until a read(2) of at least one of the descriptors would not wait, or a process has ended that a pidfd stands for. Returns
 * those; none if a signal arrives.
 */
export function waitForAny(fds: readonly number[]): number[] {
  // struct pollfd { int fd; short events; short revents; }
  const pollfds = struct();
  for (const [index, fd] of fds.entries()) {
    pollfds.writeInt32LE(fd, index * 8);
    pollfds.writeInt16LE(POLLIN, index * 8 + 4);
  }
  if (libc.poll(pollfds, BigInt(fds.length), -1) <= 0) return [];
  return fds.filter((_fd, index) => pollfds.readInt16LE(index * 8 + 6) !== 0);
}

/** Makes a pipe, both ends close-on-exec (pipe2(2)). Throws SystemCallError. */
export function makePipe(): { reader: number; writer: number } {
  const fds = struct();
  check("pipe2", libc.pipe2(fds, O_CLOEXEC));
  return { reader: fds.readInt32LE(0), writer: fds.readInt32LE(4) };
}

function waitForInput(fd: number): void {
  poll(fd, POLLIN, -1);
}

function poll(fd: number, event: number, timeoutMs: number): boolean {
  // struct pollfd { int fd; short events; short revents; }
  const pollfd = struct();
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(event, 4);
  return libc.poll(pollfd, 1n, timeoutMs) > 0;
}
