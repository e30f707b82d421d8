// What a process may have done to it and may do: execve, dumpable, limits, privileges, tracer.

import { cString, stringArray } from "../ffi/c-data.ts";
import { check, libc, ptr } from "../ffi/libc.ts";
import { fieldOf, ownStatus, type Status } from "./proc-status.ts";

const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_SET_NAME = 15;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_GET_NO_NEW_PRIVS = 39;
const PR_SET_MDWE = 65;
const PR_GET_MDWE = 66;
const PR_MDWE_REFUSE_EXEC_GAIN = 1n;
const RLIMIT_CORE = 4;
const RLIMIT_NOFILE = 7;
const RLIMIT_MEMLOCK = 8;

/** Replaces the process by the program at `path` (execve(2)); returns only by throwing SystemCallError. */
export function execute(path: string, args: readonly string[], variables: readonly string[]): never {
  check("execve", libc.execve(cString(path), stringArray(args), stringArray(variables)));
  throw new Error("execve returned");
}

/**
 * Closes the process to everyone without CAP_SYS_PTRACE: ptrace, /proc/PID/mem and its kin, pidfd_getfd, core dumps (prctl(2)).
 * Answers whether that holds. An execve of a readable file undoes it, so it comes after the last one.
 */
export function forbidInspection(): boolean {
  libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
  return libc.prctl(PR_GET_DUMPABLE, 0n, 0n, 0n, 0n) === 0;
}

/** Whether other processes of the same user can look into this one now: so it begins where its file can be read. */
export function isOpenToInspection(): boolean {
  return libc.prctl(PR_GET_DUMPABLE, 0n, 0n, 0n, 0n) === 1;
}

/** No memory becomes executable that was not so when it was mapped (PR_SET_MDWE, Linux 6.3). Answers whether that holds. */
export function forbidExecutableGain(): boolean {
  libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0n, 0n, 0n);
  return libc.prctl(PR_GET_MDWE, 0n, 0n, 0n, 0n) === Number(PR_MDWE_REFUSE_EXEC_GAIN);
}

/** No execve from here on gives privileges the process has not (setuid and setcap files). Answers whether that holds. */
export function forbidNewPrivileges(): boolean {
  libc.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n);
  return libc.prctl(PR_GET_NO_NEW_PRIVS, 0n, 0n, 0n, 0n) === 1;
}

/**
 * Sets RLIMIT_CORE to 1 byte, soft and hard. Not to 0: a core_pattern that pipes to a program ignores 0 but not 1 (core(5)).
 * Where the hard limit is 0 already it stays 0, since raising it takes CAP_SYS_RESOURCE. Answers the limits that hold.
 */
export function limitCoreDumps(): Limits {
  setLimits(RLIMIT_CORE, { soft: 1n, hard: 1n });
  return limits(RLIMIT_CORE);
}

/**
 * Raises the soft limit on open files to the hard one: with none left, a server answers nobody. Answers both.
 * Bun 1.4.5 does so by itself at its start, which is nothing to rely on.
 */
export function raiseFileLimit(): Limits {
  const { hard } = limits(RLIMIT_NOFILE);
  setLimits(RLIMIT_NOFILE, { soft: hard, hard });
  return limits(RLIMIT_NOFILE);
}

/** Raises the soft limit on locked memory to the hard one. Returns both. */
export function raiseMemoryLockLimit(): Limits {
  const { hard } = limits(RLIMIT_MEMLOCK);
  setLimits(RLIMIT_MEMLOCK, { soft: hard, hard });
  return limits(RLIMIT_MEMLOCK);
}

/** The process that traces this one, 0 for none (proc_pid_status(5)). */
export function tracer(status: Status = ownStatus()): number {
  return Number(fieldOf(status, "TracerPid"));
}

/** The process's name in ps(1) and top(1), cut to 15 bytes by the kernel. */
export function nameProcess(name: string): void {
  const bytes = cString(name);
  check("prctl", libc.prctl(PR_SET_NAME, BigInt(ptr(bytes)), 0n, 0n, 0n));
}

/** RLIM_INFINITY */
export const UNLIMITED = 2n ** 64n - 1n;

export type Limits = Readonly<{ soft: bigint; hard: bigint }>;

function limits(resource: number): Limits {
  const rlimit = new BigUint64Array(128);
  check("getrlimit", libc.getrlimit(resource, rlimit));
  return { soft: rlimit[0]!, hard: rlimit[1]! };
}

/** Callers look at what holds afterwards; that is the answer that counts. */
function setLimits(resource: number, { soft, hard }: Limits): void {
  const rlimit = new BigUint64Array(128);
  rlimit[0] = soft;
  rlimit[1] = hard;
  libc.setrlimit(resource, rlimit);
}
