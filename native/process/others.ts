// Other processes, without the danger of a pid that is used again (pidfd_open(2)), and what this one was started with.

import { check, libc, type Pointer, toArrayBuffer } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";
import { readText, readTextIfThere } from "../files/files.ts";

const SIG_DFL = 0n;
const SIG_IGN = 1n;
/** Those whose effect the runtime changes, so that it does not show what the caller gave (signal(7)). */
const CHANGED_BY_RUNTIME = { SIGPIPE: 13, SIGCHLD: 17, SIGXFSZ: 25 };
type ChangedByRuntime = keyof typeof CHANGED_BY_RUNTIME;
/** Fields of /proc/PID/stat behind the name, which may have blanks in it (proc_pid_stat(5)). */
const FIELDS_BEFORE = 2;
const ARGUMENTS = { from: 48, to: 49 };
const ENVIRONMENT = { from: 50, to: 51 };

/** Returns a descriptor that stands for the process, close-on-exec, readable once it has ended. Throws SystemCallError. */
export function openProcess(pid: number): number {
  const number = BigInt(syscallNumber("pidfd_open")!);
  return check("pidfd_open", libc.syscall(number, BigInt(pid), 0n, 0n, 0n, 0n, 0n));
}

/** Sends a signal to the process. Returns whether it was sent: not if it has ended, or if this process may not (pidfd_send_signal(2)). */
export function signalProcess(pidfd: number, signal: number): boolean {
  const number = BigInt(syscallNumber("pidfd_send_signal")!);
  return Number(libc.syscall(number, BigInt(pidfd), BigInt(signal), 0n, 0n, 0n, 0n)) === 0;
}

/** Gives signals their default effect again. */
export function resetSignals(names: readonly ChangedByRuntime[]): void {
  for (const name of names) libc.signal(CHANGED_BY_RUNTIME[name], SIG_DFL);
}

/** Gives the signals that the runtime has changed the effect they have in the process `pid`, from which this one has probably inherited: ignored or not. */
export function takeSignalsFrom(pid: number): void {
  const ignored = BigInt(
    `0x${/^SigIgn:\t(\w+)$/m.exec(readTextIfThere(`/proc/${pid}/status`) ?? "")?.[1] ?? "0"}`,
  );
  for (const signal of Object.values(CHANGED_BY_RUNTIME))
    libc.signal(signal, (ignored >> BigInt(signal - 1)) & 1n ? SIG_IGN : SIG_DFL);
}

/**
 * Returns the environments of the processes above this one that another process of its user can read, up to the first one that it cannot
 * (proc_pid_environ(5)). `NAME=value` each, as text.
 */
export function readableEnvironmentsAbove(): string[][] {
  const found: string[][] = [];
  for (let pid = parentOf("self"); pid > 0; pid = parentOf(String(pid))) {
    const environment = readTextIfReadable(`/proc/${pid}/environ`);
    if (environment === undefined) break;
    found.push(environment.split("\0").slice(0, -1));
  }
  return found;
}

function parentOf(pid: string): number {
  return Number(/^PPid:\t(\d+)$/m.exec(readTextIfReadable(`/proc/${pid}/status`) ?? "")?.[1] ?? 0);
}

/** Undefined also if the process has ended meanwhile (ESRCH). */
function readTextIfReadable(path: string): string | undefined {
  try {
    return readText(path);
  } catch {
    return undefined;
  }
}

/** What the process was started with, as bytes in latin1: arguments and environment need not be text. */
export type StartBlocks = { args: string[]; variables: string[] };

/**
 * Returns the arguments and the environment that execve(2) gave to this process. Not from the C library, which removes variables such as TMPDIR
 * from it if the program's file has capabilities (ld.so(8)). Throws SystemCallError.
 */
export function startBlocks(): StartBlocks {
  const stat = readText("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const read = ({ from, to }: { from: number; to: number }): string[] => {
    const [start, end] = [from, to].map((field) => Number(fields[field - FIELDS_BEFORE - 1]));
    if (!start || !end || end <= start) return [];
    const bytes = Buffer.from(toArrayBuffer(start as Pointer, 0, end - start));
    return bytes.toString("latin1").split("\0").slice(0, -1);
  };
  return { args: read(ARGUMENTS), variables: read(ENVIRONMENT) };
}
