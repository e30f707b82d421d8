// What the process is shut into: files and ports before the second start, so that every thread is; system calls after it.

import { EACCES, ENOSYS, EOPNOTSUPP, EROFS, SystemCallError } from "../../native/ffi/libc.ts";
import { O_RDWR, O_WRONLY, whyNotOpened } from "../../native/files/files.ts";
import { forbidExecutableGain } from "../../native/process/process.ts";
import { askForLandlock, landlockAbi, restrict } from "../../native/sandbox/landlock.ts";
import { installFilter } from "../../native/sandbox/seccomp.ts";
import { dirname } from "../base/paths.ts";
import type { Environment } from "../input/environment.ts";
import { isLoopback, type Options, portOf } from "../input/options.ts";

const DNS_PORT = 53;

/** What executing ourselves takes: our own file, and the loader its header names (glibc's and musl's). */
const EXECUTABLES = [
  "/proc/self/exe",
  "/lib64/ld-linux-x86-64.so.2",
  "/lib/ld-linux-aarch64.so.1",
  "/lib/ld-musl-x86_64.so.1",
  "/lib/ld-musl-aarch64.so.1",
];

/**
 * No writing but into the directories of --server-info and --dump-dir, no executing but of ourselves, no connecting but to the upstream's port, its
 * HTTPS proxy's and DNS, no binding but of our port, no signals and abstract sockets to others. Best effort: answers whether the
 * kernel took it. `image` is the descriptor of the copy to be executed, if there is one. Reading is not restricted, nor are addresses: Landlock knows ports only.
 */
export function shutIn(options: Options, environment: Environment, image?: number): boolean {
  return attempt(() => {
    restrict({
      writableDirectories: [
        ...(options.serverInfo === undefined ? [] : [dirname(options.serverInfo)]),
        ...(options.dumpDir === undefined ? [] : [options.dumpDir]),
      ],
      writableFiles: ["/dev/null"],
      executables: [...EXECUTABLES, ...(image === undefined ? [] : [`/proc/self/fd/${image}`])],
      connectPorts: [DNS_PORT, portOf(options.upstreamUrl), ...proxyPorts(options.upstreamUrl, environment)],
      bindPorts: [options.port],
    });
  });
}

/** The same with no exception at all, for a process that only wants to know whether it can be had, and opens nothing afterwards. */
export function shutInWholly(): boolean {
  const nothing = { writableDirectories: [], writableFiles: [], executables: [] };
  return attempt(() => restrict({ ...nothing, connectPorts: [], bindPorts: [] }));
}

/**
 * Whether the restrictions of files hold. Everybody may write to this file of the process's own, the kernel gave it its mode and lets
 * nobody change it: so it is a security module that refuses it.
 */
export function isShutIn(): boolean {
  if (landlockAbi() === 0) return false;
  const reason = whyNotOpened("/proc/self/timerslack_ns", O_WRONLY);
  // On a read-only /proc the kernel does not get as far; a device is not part of what is mounted read-only.
  return (reason === EROFS ? whyNotOpened("/dev/zero", O_RDWR) : reason) === EACCES;
}

/** A part of the sandbox that does not hold: what that means, and what would mend it. */
export type Gap = Readonly<{ message: string; hints: readonly string[] }>;

/** What Landlock leaves unrestricted; undefined if that is nothing. */
export function landlockGap(): Gap | undefined {
  const { abi, refusal } = askForLandlock();
  const allOpen = (why: string, hint: string): Gap => ({
    message: `files, TCP ports and signals are not restricted: ${why}`,
    hints: [hint],
  });
  switch (refusal?.errno) {
    case undefined:
      break;
    case ENOSYS:
      return allOpen("this kernel has no Landlock", `${COMPLETE}, if CONFIG_SECURITY_LANDLOCK is set`);
    case EOPNOTSUPP:
      return allOpen(
        "Landlock is not enabled",
        "add it to the kernel's command line: lsm=landlock,… with what /sys/kernel/security/lsm lists",
      );
    default:
      return allOpen(`Landlock is forbidden here (${refusal!.message})`, ALLOW_LANDLOCK);
  }
  if (!isShutIn()) return allOpen("the kernel's Landlock refused this process", ALLOW_LANDLOCK);
  const missing = LANDLOCK_SINCE.filter(([since]) => since > abi).map(([, what]) => what);
  if (missing.length === 0) return undefined;
  return { message: `not restricted by Landlock ABI ${abi}: ${missing.join(", ")}`, hints: [COMPLETE] };
}

const COMPLETE = "Linux 6.12 has all of it";
const ALLOW_LANDLOCK = "a container's seccomp profile must allow the calls landlock_*";

/** What the first version does not know, by the one that does. (The second's REFER is not missed: without it, all such moves are refused.) */
const LANDLOCK_SINCE: readonly [abi: number, what: string][] = [
  [3, "truncating files"],
  [4, "TCP ports"],
  [5, "ioctl on devices"],
  [6, "signals and abstract sockets"],
];

export const SECCOMP_GAP: Gap = {
  message: "system calls are not restricted (seccomp)",
  hints: ["the kernel must have CONFIG_SECCOMP_FILTER, and a container must allow seccomp(2)"],
};

export const MDWE_GAP: Gap = {
  message: "memory can become executable (PR_SET_MDWE)",
  hints: ["Linux 6.3 or later can forbid it"],
};

/** No system calls but those that serving takes, on every thread; and no memory that becomes executable. Answers what holds. */
export function shutOff(): { filter: boolean; executableGain: boolean } {
  return { executableGain: forbidExecutableGain(), filter: attempt(installFilter) };
}

function attempt(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

function proxyPorts(upstreamUrl: URL, environment: Environment): number[] {
  if (isLoopback(upstreamUrl)) return [];
  const proxies = [environment["HTTPS_PROXY"], environment["https_proxy"]];
  return proxies.flatMap((proxy) => {
    const url = URL.parse(proxy ?? "");
    return url === null ? [] : [portOf(url)];
  });
}
