// A copy of the program's own file that can be executed and not read, for where the file itself can be read.
//
// The kernel makes a process dumpable when it executes a file that its user can read, and undumpable when not (execve(2)). Between
// an execve and prctl(PR_SET_DUMPABLE) lies a window in which another process of the same user can open /proc/PID/mem and keep it.

import { cString, stringArray } from "../ffi/c-data.ts";
import { check, EACCES, libc, ptr, SystemCallError } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";
import {
  AT_FDCWD,
  changeMode,
  close,
  O_CLOEXEC,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  open,
  openUnless,
  readLink,
} from "../files/files.ts";

const NAME = "responses-api-proxy";
const MFD_CLOEXEC = 0x1n;
const MFD_ALLOW_SEALING = 0x2n;
const MFD_EXEC = 0x10n;
const F_ADD_SEALS = 1033;
const ALL_SEALS = 0x1n | 0x2n | 0x4n | 0x8n; // SEAL, SHRINK, GROW, WRITE
const AT_EMPTY_PATH = 0x1000n;
const X_OK = 1;
const MODE = 0o111;
const MOST_AT_ONCE = 0x7ffff000n;

/**
 * A copy of /proc/self/exe, mode 0111 and without a name: its descriptor, or undefined where the file cannot be read, so that there is
 * nothing to copy. Throws SystemCallError (EACCES where vm.memfd_noexec forbids the last resort).
 *
 * On a disk if there is a directory for it, because what lies in memory only stays there, 110 MB for as long as the proxy lives; a file
 * on a disk is read again when it is needed. Nobody can open either: without a name, it is to be had through /proc/PID alone, which is
 * closed. Whoever serves the file system of the program's own directory could have changed the program as well.
 */
export function copyImage(): number | undefined {
  const source = openUnless(EACCES, AT_FDCWD, "/proc/self/exe", O_RDONLY);
  if (source === undefined) return undefined;
  try {
    return copyOnDisk(source) ?? copyInMemory(source);
  } finally {
    close(source);
  }
}

/** Whether the copy would lie on a disk. Throws SystemCallError where the file cannot be read. */
export function isCopiedOnDisk(): boolean {
  const source = open("/proc/self/exe", O_RDONLY);
  const copy = copyOnDisk(source);
  for (const fd of [source, copy]) if (fd !== undefined) close(fd);
  return copy !== undefined;
}

/** Replaces the process by such a copy; by one in memory, where a security module lets none be executed on the disk. */
export function executeCopy(fd: number, args: readonly string[], variables: readonly string[]): never {
  try {
    executeDescriptor(fd, args, variables);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    executeDescriptor(copyInMemory(open("/proc/self/exe", O_RDONLY)), args, variables);
  }
}

/** Replaces the process by the program behind a descriptor (execveat(2)); returns only by throwing SystemCallError. */
function executeDescriptor(fd: number, args: readonly string[], variables: readonly string[]): never {
  // By number, as memfd_create: glibc before 2.34 has no wrapper, and a missing symbol would keep the program from starting.
  const blocks = [cString(""), stringArray(args), stringArray(variables)] as const;
  const [empty, argv, envp] = blocks.map((block) => BigInt(ptr(block)));
  const number = BigInt(syscallNumber("execveat")!);
  check("execveat", libc.syscall(number, BigInt(fd), empty!, argv!, envp!, AT_EMPTY_PATH, 0n));
  throw new Error("execveat returned");
}

/** Whether this process runs from such a copy. */
export function isCopy(): boolean {
  // A file that was made without a name (O_TMPFILE) shows as its inode's number.
  return /^\/memfd:responses-api-proxy|\/#\d+ \(deleted\)$/.test(readLink("/proc/self/exe"));
}

/** Beside the program, or else where everybody may write; undefined where neither can be had. */
function copyOnDisk(source: number): number | undefined {
  const beside = readLink("/proc/self/exe").replace(/[^/]*$/, "");
  return copyInto(beside, source) ?? copyInto("/var/tmp", source);
}

/**
 * Undefined where that directory takes no such file: it is not this user's to write in, nothing may be executed there, or its file
 * system is full or has no O_TMPFILE.
 */
function copyInto(directory: string, source: number): number | undefined {
  const writable = libc.openat(AT_FDCWD, cString(directory), O_TMPFILE | O_RDWR | O_CLOEXEC, 0o700);
  if (writable === -1) return undefined;
  try {
    const path = `/proc/self/fd/${writable}`;
    if (libc.faccessat(AT_FDCWD, cString(path), X_OK, 0) !== 0) return undefined;
    fill(writable, source);
    // A file that anybody has open for writing cannot be executed (ETXTBSY).
    return open(path, O_PATH);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  } finally {
    close(writable);
  }
}

function copyInMemory(source: number): number {
  const fd = createMemoryFile();
  fill(fd, source);
  check("fcntl", libc.fcntl(fd, F_ADD_SEALS, ALL_SEALS));
  return fd;
}

function fill(fd: number, source: number): void {
  const offset = new BigInt64Array(128);
  while (check("sendfile", libc.sendfile(fd, source, offset, MOST_AT_ONCE)) > 0);
  changeMode(fd, MODE);
}

/** Kernels before 6.3 do not know MFD_EXEC and say EINVAL. */
function createMemoryFile(): number {
  const name = cString(NAME);
  const create = (flags: bigint): bigint =>
    libc.syscall(BigInt(syscallNumber("memfd_create")!), BigInt(ptr(name)), flags, 0n, 0n, 0n, 0n);
  const fd = create(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  return Number(fd) >= 0 ? Number(fd) : check("memfd_create", create(MFD_CLOEXEC | MFD_ALLOW_SEALING));
}
