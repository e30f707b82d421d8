// What others may do to the process, and what it may do: execve, dumpable, limits, privileges, tracer.

import { cString, type Encoding, stringArray } from "../ffi/c-data.ts";
import { check, libc, ptr } from "../ffi/libc.ts";
import { fieldOf, ownStatus, type Status } from "./proc-status.ts";

const PR_SET_PDEATHSIG = 1;
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_SET_NAME = 15;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_GET_NO_NEW_PRIVS = 39;
const PR_SET_MDWE = 65;
const PR_GET_MDWE = 66;
const PR_MDWE_REFUSE_EXEC_GAIN = 1n;
/** The same numbers on x86_64 and aarch64 (signal(7)). */
export const SIGUSR2 = 12;
export const SIGTERM = 15;
const RLIMIT_CORE = 4;
const RLIMIT_NOFILE = 7;
const RLIMIT_MEMLOCK = 8;

/** Replaces the process by the program at `path` (execve(2)). Returns only by throwing SystemCallError. */
export function execute(
  path: string,
  args: readonly string[],
  variables: readonly string[],
  encoding: Encoding = "utf8",
): never {
  const [argv, envp] = [stringArray(args, encoding), stringArray(variables, encoding)];
  check("execve", libc.execve(cString(path, encoding), argv, envp));
  throw new Error("execve returned");
}

/**
 * Makes the process undumpable (PR_SET_DUMPABLE, prctl(2)). Without CAP_SYS_PTRACE nobody can then use
 * ptrace, /proc/PID/mem and the like, or pidfd_getfd on it; and it leaves no core dump. Returns whether it
 * holds. An execve of a readable file undoes it, so call this after the last execve.
 */
export function makeUndumpable(): boolean {
  libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
  return libc.prctl(PR_GET_DUMPABLE, 0n, 0n, 0n, 0n) === 0;
}

/**
 * Returns whether other processes of the same user can read this one's memory now. This is the initial
 * state if the user can read the program's file.
 */
export function isDumpable(): boolean {
  return libc.prctl(PR_GET_DUMPABLE, 0n, 0n, 0n, 0n) === 1;
}

/**
 * Forbids to make memory executable that was not executable when it was mapped (PR_SET_MDWE, Linux 6.3).
 * Returns whether it holds.
 */
export function forbidNewExecutableMemory(): boolean {
  libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0n, 0n, 0n);
  return libc.prctl(PR_GET_MDWE, 0n, 0n, 0n, 0n) === Number(PR_MDWE_REFUSE_EXEC_GAIN);
}

/** Sets no_new_privs: no later execve gains privileges (setuid, setcap files). Returns whether it holds. */
export function forbidNewPrivileges(): boolean {
  libc.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n);
  return libc.prctl(PR_GET_NO_NEW_PRIVS, 0n, 0n, 0n, 0n) === 1;
}

/**
 * Sets RLIMIT_CORE to 1 byte, soft and hard. Not to 0: a core_pattern that pipes to a program ignores 0,
 * but not 1 (core(5)). A hard limit of 0 stays 0, because raising it requires CAP_SYS_RESOURCE. Returns the
 * limits that hold, in bytes. Throws SystemCallError if they cannot be read.
 */
export function limitCoreDumps(): Limits {
  setLimits(RLIMIT_CORE, { soft: 1n, hard: 1n });
  return limits(RLIMIT_CORE);
}

/**
 * Raises the soft limit on open files to the hard one: without a free descriptor the proxy serves nobody.
 * Bun does this at its start, too, but does not promise to. Returns both limits. Throws SystemCallError if
 * they cannot be read.
 */
export function raiseFileLimit(): Limits {
  const { hard } = limits(RLIMIT_NOFILE);
  setLimits(RLIMIT_NOFILE, { soft: hard, hard });
  return limits(RLIMIT_NOFILE);
}

/**
 * Raises the soft limit on locked memory to the hard one. Returns both, in bytes. Throws SystemCallError if
 * they cannot be read.
 */
export function raiseMemoryLockLimit(): Limits {
  const { hard } = limits(RLIMIT_MEMLOCK);
  setLimits(RLIMIT_MEMLOCK, { soft: hard, hard });
  return limits(RLIMIT_MEMLOCK);
}

/**
 * Lowers the soft limit on open files to that of the process `pid`, if it can be read: the runtime raises it at its start, and programs that
 * are executed later would inherit that.
 */
export function lowerFileLimitTo(pid: number): void {
  const rlimit = new BigUint64Array(128);
  if (libc.prlimit(pid, RLIMIT_NOFILE, null, rlimit) !== 0) return;
  const own = limits(RLIMIT_NOFILE);
  if (rlimit[0]! < own.soft) setLimits(RLIMIT_NOFILE, { soft: rlimit[0]!, hard: own.hard });
}

/** Returns the pid of the parent, 0 if it is in another PID namespace (getppid(2)). It changes when the parent ends. */
export function parentPid(): number {
  return libc.getppid();
}

/**
 * Has the kernel send this signal when the parent ends (PR_SET_PDEATHSIG, prctl(2)). An execve of a file with capabilities and a change
 * of user undo it. It is not sent if the parent may not send signals to this process when it ends.
 */
export function askForSignalAtParentsEnd(signal: number): void {
  libc.prctl(PR_SET_PDEATHSIG, BigInt(signal), 0n, 0n, 0n);
}

/** Returns the pid of the process that traces this one, 0 if there is none, or if it is in an outer PID namespace (proc_pid_status(5)). */
export function tracerPid(status: Status = ownStatus()): number {
  return Number(fieldOf(status, "TracerPid"));
}

/** Sets the name in ps(1) and top(1). The kernel truncates it to 15 bytes. Throws SystemCallError. */
export function setProcessName(name: string): void {
  const bytes = cString(name);
  check("prctl", libc.prctl(PR_SET_NAME, BigInt(ptr(bytes)), 0n, 0n, 0n));
}

/** RLIM_INFINITY */
export const UNLIMITED = 2n ** 64n - 1n;

type Limits = Readonly<{ soft: bigint; hard: bigint }>;

function limits(resource: number): Limits {
  const rlimit = new BigUint64Array(128);
  check("getrlimit", libc.getrlimit(resource, rlimit));
  return { soft: rlimit[0]!, hard: rlimit[1]! };
}

/** Ignores errors: callers read the limits back and judge by those. */
function setLimits(resource: number, { soft, hard }: Limits): void {
  const rlimit = new BigUint64Array(128);
  rlimit[0] = soft;
  rlimit[1] = hard;
  libc.setrlimit(resource, rlimit);
}
