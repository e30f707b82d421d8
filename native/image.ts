// A copy of the program's own file that can be executed and not read, for where the file itself can be read.
//
// The kernel makes a process dumpable when it executes a file that its user can read, and undumpable when not (execve(2)). Between
// an execve and prctl(PR_SET_DUMPABLE) lies a window in which another process of the same user can open /proc/PID/mem and keep it.

import { cString, stringArray } from "./c-data.ts";
import { AT_FDCWD, changeMode, close, O_RDONLY, openUnless, readLink } from "./files.ts";
import { check, EACCES, libc, ptr } from "./libc.ts";
import { syscallNumber } from "./syscalls.ts";

const NAME = "responses-api-proxy";
const MFD_CLOEXEC = 0x1n;
const MFD_ALLOW_SEALING = 0x2n;
const MFD_EXEC = 0x10n;
const F_ADD_SEALS = 1033;
const ALL_SEALS = 0x1n | 0x2n | 0x4n | 0x8n; // SEAL, SHRINK, GROW, WRITE
const AT_EMPTY_PATH = 0x1000n;
const MODE = 0o111;
const MOST_AT_ONCE = 0x7ffff000n;

/**
 * A sealed copy of /proc/self/exe in memory, mode 0111: its descriptor, or undefined where the file cannot be read, so that there is
 * nothing to copy. Throws SystemCallError (EACCES where vm.memfd_noexec forbids it).
 */
export function copyImage(): number | undefined {
  const source = openUnless(EACCES, AT_FDCWD, "/proc/self/exe", O_RDONLY);
  if (source === undefined) return undefined;
  const fd = createMemoryFile();
  try {
    while (check("sendfile", libc.sendfile(fd, source, null, MOST_AT_ONCE)) > 0);
  } finally {
    close(source);
  }
  changeMode(fd, MODE);
  check("fcntl", libc.fcntl(fd, F_ADD_SEALS, ALL_SEALS));
  return fd;
}

/** Replaces the process by the program behind a descriptor (execveat(2)); returns only by throwing SystemCallError. */
export function executeDescriptor(fd: number, args: readonly string[], variables: readonly string[]): never {
  // By number, as memfd_create: glibc before 2.34 has no wrapper, and a missing symbol would keep the program from starting.
  const blocks = [cString(""), stringArray(args), stringArray(variables)] as const;
  const [empty, argv, envp] = blocks.map((block) => BigInt(ptr(block)));
  const number = BigInt(syscallNumber("execveat")!);
  check("execveat", libc.syscall(number, BigInt(fd), empty!, argv!, envp!, AT_EMPTY_PATH, 0n));
  throw new Error("execveat returned");
}

/** Whether this process runs from such a copy. */
export function isCopy(): boolean {
  return readLink("/proc/self/exe").startsWith(`/memfd:${NAME}`);
}

/** Kernels before 6.3 do not know MFD_EXEC and say EINVAL. */
function createMemoryFile(): number {
  const name = cString(NAME);
  const create = (flags: bigint): bigint =>
    libc.syscall(BigInt(syscallNumber("memfd_create")!), BigInt(ptr(name)), flags, 0n, 0n, 0n, 0n);
  const fd = create(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  return Number(fd) >= 0 ? Number(fd) : check("memfd_create", create(MFD_CLOEXEC | MFD_ALLOW_SEALING));
}
