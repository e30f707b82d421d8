// A copy of the program's file that its user can execute but not read.
//
// execve(2) makes a process dumpable if its user can read the file, and undumpable if not. So after the
// execve of a readable file, and until prctl(PR_SET_DUMPABLE), another process of the same user can open
// /proc/PID/mem and keep it open. With an unreadable copy there is no such window.

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
import { isExecutable } from "../files/paths.ts";

const NAME = "responses-api-proxy";
const MFD_CLOEXEC = 0x1n;
const MFD_ALLOW_SEALING = 0x2n;
const MFD_EXEC = 0x10n;
const F_ADD_SEALS = 1033;
const ALL_SEALS = 0x1n | 0x2n | 0x4n | 0x8n; // SEAL, SHRINK, GROW, WRITE
const AT_EMPTY_PATH = 0x1000n;
const MODE = 0o111;
/** The most that sendfile(2) transfers in one call. */
const MAX_SENDFILE_BYTES = 0x7ffff000n;

/**
 * Makes a nameless copy of /proc/self/exe with mode 0111. Returns its descriptor, or undefined if the file
 * cannot be read, since then no copy is needed. Throws SystemCallError: EACCES if vm.memfd_noexec forbids a
 * copy in memory.
 *
 * The copy is on a disk if a directory takes it: the kernel can drop its pages and read them again. A copy
 * in memory occupies 110 MB for as long as the proxy runs. Nobody can open either copy: a nameless file is
 * reachable only through /proc/PID, which is closed. NOT protected: the server of a network file system can
 * change the copy, as it can change the program itself.
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

/**
 * Replaces the process by the copy `fd`. If that fails, as when a security module forbids execution from
 * the disk, tries a copy in memory. Returns only by throwing SystemCallError.
 */
export function executeCopy(fd: number, args: readonly string[], variables: readonly string[]): never {
  try {
    executeDescriptor(fd, args, variables);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    executeDescriptor(copyInMemory(open("/proc/self/exe", O_RDONLY)), args, variables);
  }
}

/** Replaces the process by the program `fd` (execveat(2)). Returns only by throwing SystemCallError. */
function executeDescriptor(fd: number, args: readonly string[], variables: readonly string[]): never {
  // By number: glibc before 2.34 has no wrapper, and with a missing symbol the program would not start.
  const blocks = [cString(""), stringArray(args), stringArray(variables)] as const;
  const [empty, argv, envp] = blocks.map((block) => BigInt(ptr(block)));
  const number = BigInt(syscallNumber("execveat")!);
  check("execveat", libc.syscall(number, BigInt(fd), empty!, argv!, envp!, AT_EMPTY_PATH, 0n));
  throw new Error("execveat returned");
}

/** Returns whether the process runs from such a copy. */
export function runsFromCopy(): boolean {
  // /proc shows a file of O_TMPFILE as its inode number.
  return /^\/memfd:responses-api-proxy|\/#\d+ \(deleted\)$/.test(readLink("/proc/self/exe"));
}

/** Tries the program's own directory, then /var/tmp. Returns undefined if neither takes the copy. */
function copyOnDisk(source: number): number | undefined {
  const beside = readLink("/proc/self/exe").replace(/[^/]*$/, "");
  return copyInto(beside, source) ?? copyInto("/var/tmp", source);
}

/**
 * Returns undefined if the directory does not take the copy: this user cannot write there, it has noexec,
 * or its file system is full or has no O_TMPFILE.
 */
function copyInto(directory: string, source: number): number | undefined {
  const writable = libc.openat(AT_FDCWD, cString(directory), O_TMPFILE | O_RDWR | O_CLOEXEC, 0o700);
  if (writable === -1) return undefined;
  try {
    const path = `/proc/self/fd/${writable}`;
    if (!isExecutable(path)) return undefined;
    fill(writable, source);
    // Opened anew because a file that is open for writing cannot be executed (ETXTBSY).
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
  while (check("sendfile", libc.sendfile(fd, source, offset, MAX_SENDFILE_BYTES)) > 0);
  changeMode(fd, MODE);
}

/** Retries without MFD_EXEC, which kernels before 6.3 refuse (EINVAL). */
function createMemoryFile(): number {
  const name = cString(NAME);
  const create = (flags: bigint): bigint =>
    libc.syscall(BigInt(syscallNumber("memfd_create")!), BigInt(ptr(name)), flags, 0n, 0n, 0n, 0n);
  const fd = create(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  return Number(fd) >= 0 ? Number(fd) : check("memfd_create", create(MFD_CLOEXEC | MFD_ALLOW_SEALING));
}
