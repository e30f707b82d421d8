// File descriptors below the runtime's own streams: reading without a buffer in between, and putting others in their place.

import { struct } from "../ffi/c-data.ts";
import { check, EAGAIN, EINTR, errno, libc, SystemCallError } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";
import { close, O_RDWR, open, statusOf } from "./files.ts";

const F_DUPFD_CLOEXEC = 1030;
const ENODEV = 19;
/** The null device's number (null(4)). */
const NULL_DEVICE = "1:3";
const POLLIN = 1;
const POLLOUT = 4;
const CLOSE_RANGE_CLOEXEC = 4n;

/**
 * One read(2) straight into `space`, waiting for input where the descriptor does not block.
 * Answers the number of bytes, 0 at the end of input. Throws SystemCallError.
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

/** Whether `fd` is a terminal. (node:tty says so too, at 5 ms of loading: Bun 1.4.5.) */
export function isTerminal(fd: number): boolean {
  return libc.isatty(fd) === 1;
}

/** Makes `fd` refer to what `from` refers to, which is closed. */
export function replaceBy(fd: number, from: number): void {
  check("dup2", libc.dup2(from, fd));
  if (from !== fd) close(from);
}

/** Makes `fd` refer to /dev/null; what it referred to is closed unless somebody else holds it. Throws SystemCallError. */
export function replaceByNull(fd: number): void {
  replaceBy(fd, openNull());
}

/** Throws SystemCallError if /dev/null cannot be opened, or is something else (ENODEV). */
export function checkNull(): void {
  close(openNull());
}

function openNull(): number {
  const fd = open("/dev/null", O_RDWR);
  if (statusOf(fd).device === NULL_DEVICE) return fd;
  close(fd);
  throw new SystemCallError("open", ENODEV);
}

/** A second descriptor for what `fd` refers to, 3 or above and closed on execve. */
export function duplicate(fd: number): number {
  return check("fcntl", libc.fcntl(fd, F_DUPFD_CLOEXEC, 3n));
}

/** Has every descriptor but the standard three closed by the next execve: the caller's and the runtime's alike. */
export function closeOthersOnExec(): void {
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

/** Whether a write(2) would not wait: a pipe with room, a terminal that is not stopped, any file. */
export function takesOutput(fd: number): boolean {
  return poll(fd, POLLOUT, 0);
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
