// The sandbox: files, ports and signals before the second start, so that it holds for every thread; system calls after it.

import { EACCES, ENOSYS, EOPNOTSUPP, EROFS, SystemCallError } from "../../native/ffi/libc.ts";
import { O_RDWR, O_WRONLY, openErrno } from "../../native/files/files.ts";
import { forbidNewExecutableMemory } from "../../native/process/process.ts";
import { landlockAbi, probeLandlock, restrict } from "../../native/sandbox/landlock.ts";
import { installFilter } from "../../native/sandbox/seccomp.ts";
import { dirname } from "../base/paths.ts";
import type { Environment } from "../input/environment.ts";
import { destinations } from "../input/oidc/options.ts";
import type { Options } from "../input/options.ts";
import { isLoopback, portOf } from "../input/upstream-url.ts";
import type { Gap, Protection } from "./protections.ts";

const DNS_PORT = 53;

/** What an execve of the program needs: its own file, and the loader that its header names (glibc's and musl's). */
const EXECUTABLES = [
  "/proc/self/exe",
  "/lib64/ld-linux-x86-64.so.2",
  "/lib/ld-linux-aarch64.so.1",
  "/lib/ld-musl-x86_64.so.1",
  "/lib/ld-musl-aarch64.so.1",
];

/**
 * Restricts the process to what the proxy needs (landlock(7)): writing in the directories of --server-info, --client-token, --socket and --dump-dir, executing its own
 * file, connecting to the ports of the upstream, of the hosts that tokens come from, of the HTTPS proxy and DNS, binding its port; no signals and
 * abstract sockets to others.
 * Reading is not restricted, nor are addresses: Landlock knows ports only. Does nothing if the kernel refuses; `checkLandlock` says what holds.
 * `image` is the descriptor of the copy to be executed, if there is one.
 */
export function restrictAccess(options: Options, environment: Environment, image?: number): void {
  attempt(() => {
    restrict({
      writableDirectories: [
        ...[options.serverInfo, options.clientToken, options.socket].flatMap((path) =>
          path === undefined ? [] : [dirname(path)],
        ),
        ...(options.dumpDir === undefined ? [] : [options.dumpDir]),
      ],
      socketDirectories: options.socket === undefined ? [] : [dirname(options.socket)],
      writableFiles: ["/dev/null", ...(options.logFile === undefined ? [] : [options.logFile])],
      executables: [...EXECUTABLES, ...(image === undefined ? [] : [`/proc/self/fd/${image}`])],
      connectPorts: [
        DNS_PORT,
        ...destinations(options).map(portOf),
        ...httpsProxyPorts(destinations(options), environment),
      ],
      bindPorts: options.port === undefined ? [] : [options.port],
    });
  });
}

/**
 * Whether the restrictions of files hold. Everybody may write to this file of the process's own, and nobody can change the mode that the
 * kernel gave it; so if it cannot be opened, a security module refuses it.
 */
function isAccessRestricted(): boolean {
  if (landlockAbi() === 0) return false;
  const reason = openErrno("/proc/self/timerslack_ns", O_WRONLY);
  // On a read-only /proc the kernel does not get as far; a device is not part of what is mounted read-only.
  return (reason === EROFS ? openErrno("/dev/zero", O_RDWR) : reason) === EACCES;
}

/** What Landlock restricts. Comes before the system call filter, which leaves no way to ask. */
export function checkLandlock(): Protection {
  const gap = landlockGap();
  const abi = landlockAbi();
  const held = isAccessRestricted() ? `landlock(abi ${abi})` : undefined;
  return { id: "landlock", held, note: `ABI ${abi}: files, TCP ports, signals`, gap };
}

/** What Landlock leaves unrestricted; undefined if that is nothing. */
function landlockGap(): Gap | undefined {
  const { abi, refusal } = probeLandlock();
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
  if (!isAccessRestricted()) return allOpen("the kernel's Landlock refused this process", ALLOW_LANDLOCK);
  const missing = LANDLOCK_SINCE.filter(([since]) => since > abi).map(([, what]) => what);
  if (missing.length === 0) return undefined;
  return { message: `not restricted by Landlock ABI ${abi}: ${missing.join(", ")}`, hints: [COMPLETE] };
}

const COMPLETE = "Linux 6.12 has all of it";
const ALLOW_LANDLOCK = "a container's seccomp profile must allow the calls landlock_*";

/**
 * What later ABIs added to the first, if nothing else restricts it. The system call filter does: truncating files (3), ioctl on devices (5), abstract
 * sockets (6). And without REFER (2) the kernel refuses all such moves.
 */
const LANDLOCK_SINCE: readonly [abi: number, what: string][] = [
  [4, "TCP ports"],
  [6, "signals"],
];

/** Allows no system calls but those that serving takes, on every thread, and no memory that becomes executable. */
export function installSyscallFilter(): Protection[] {
  const mdwe = forbidNewExecutableMemory();
  const filter = attempt(installFilter);
  return [
    {
      id: "seccomp",
      ...(filter
        ? { held: "seccomp", note: "an allow-list of system calls, on every thread" }
        : { gap: SECCOMP_GAP }),
    },
    {
      id: "mdwe",
      ...(mdwe
        ? { held: "mdwe", note: "no memory is made executable later (PR_SET_MDWE)" }
        : { gap: MDWE_GAP }),
    },
  ];
}

const SECCOMP_GAP: Gap = {
  message: "system calls are not restricted (seccomp)",
  hints: ["the kernel must have CONFIG_SECCOMP_FILTER, and a container must allow seccomp(2)"],
};

const MDWE_GAP: Gap = {
  message: "memory can become executable (PR_SET_MDWE)",
  hints: ["Linux 6.3 or later can forbid it"],
};

/** Whether the step succeeded; false if the kernel refused it. */
function attempt(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

function httpsProxyPorts(urls: readonly URL[], environment: Environment): number[] {
  if (urls.every(isLoopback)) return [];
  const proxies = [environment["HTTPS_PROXY"], environment["https_proxy"]];
  return proxies.flatMap((proxy) => {
    const url = URL.parse(proxy ?? "");
    return url === null ? [] : [portOf(url)];
  });
}
