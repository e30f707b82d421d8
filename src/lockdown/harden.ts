// What must hold before the key is read, and what should. Each step looks at the system's answer, not at its own call.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { checkNull } from "../../native/files/descriptors.ts";
import { userIds } from "../../native/process/credentials.ts";
import { isCopy } from "../../native/process/image.ts";
import { isOpenToNamespaceOwner } from "../../native/process/namespace.ts";
import { ownStatus, type Status } from "../../native/process/proc-status.ts";
import {
  forbidInspection,
  forbidNewPrivileges,
  isOpenToInspection,
  limitCoreDumps,
  nameProcess,
  raiseFileLimit,
  tracer,
} from "../../native/process/process.ts";
import { landlockAbi } from "../../native/sandbox/landlock.ts";
import { EXIT, UserError } from "../base/errors.ts";
import type { Options } from "../input/options.ts";
import { lockMemory, type Missing } from "./memory-lock.ts";
import { isShutIn, landlockGap, MDWE_GAP, SECCOMP_GAP, shutOff } from "./sandbox.ts";
import { resolveUser } from "./user.ts";

/** What holds, in words for the protections line, and what does not. */
export type Protections = { held: string[]; missing: Missing[] };

/** Closes the process to others. Throws UserError where something does not hold that must, or that --strict or --require-mlock wants. */
export function harden(options: Options): Protections {
  const missing: Missing[] = [];
  const wasOpen = isOpenToInspection();
  // First, because until here another process of the same user could open /proc/PID/mem.
  if (!forbidInspection()) throw new UserError("the process cannot be made undumpable", EXIT.dumpable);
  const status = ownStatus();
  const isRoot = refuseOtherUsers(options, status) === 0;
  missing.push(...openAtStart({ wasOpen, isRoot, startedByRoot: options.user !== undefined }));
  if (isOpenToNamespaceOwner({ isReadable: wasOpen }))
    missing.push({ ...NAMESPACE_GAP, exitCode: EXIT.strict });
  refuseTracer(status);
  nameProcess("responses-proxy");
  if (!forbidNewPrivileges()) throw new UserError("no_new_privs cannot be set", EXIT.newPrivileges);
  const core = limitCoreDumps();
  if (core.soft > 1n || core.hard > 1n) throw new UserError("core dumps cannot be forbidden", EXIT.coreDumps);
  refuseFewDescriptors();
  refuseWithoutNull();

  const lock = lockMemory(status);
  if (lock.missing !== undefined) missing.push(lock.missing);
  const sandbox = restrict(missing);
  refuseMissing(options, missing);
  const held = [
    wasOpen ? "not dumpable" : "not dumpable from exec",
    ...(lock.holds ? ["memory locked"] : []),
    "no core",
    ...(sandbox.length > 0 ? [`sandbox ${sandbox.join("+")}`] : []),
    isRoot ? "uid 0 (--user makes it another)" : `uid ${process.getuid!()}`,
  ];
  return { held, missing };
}

/** Itself, and ten exchanges at a time: the first request to an http upstream was answered with 13 (Bun 1.4.5). */
export const MIN_DESCRIPTORS = 32;

/** Raises the limit on open files as far as it goes. Throws UserError if that is not far enough to serve anybody. */
export function refuseFewDescriptors(): void {
  const { soft, hard } = raiseFileLimit();
  if (soft !== hard) throw new UserError("the limit on open files cannot be raised", EXIT.fileLimit);
  if (soft >= MIN_DESCRIPTORS) return;
  throw new UserError(
    `the limit on open files (RLIMIT_NOFILE) is ${soft}, and the proxy requires ${MIN_DESCRIPTORS}`,
    EXIT.fileLimit,
    [`start it where ulimit -Hn shows ${MIN_DESCRIPTORS} or more; each exchange takes two`],
  );
}

/** Standard input and error are replaced by /dev/null once the key is read: better to miss it before. */
function refuseWithoutNull(): void {
  try {
    checkNull();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    throw new UserError(`/dev/null cannot be used (${error.message})`, EXIT.cannotStart, [NULL_HINT]);
  }
}

export const NULL_HINT =
  "the null device must be there, and usable by the proxy's user: mknod -m 666 /dev/null c 1 3, on a file system without nodev";

type Opened = { wasOpen: boolean; isRoot: boolean; startedByRoot: boolean };

/** What others of the same user could do before the process was closed to them, because its file can be read. */
function openAtStart({ wasOpen, isRoot, startedByRoot }: Opened): Missing[] {
  const exitCode = EXIT.strict;
  const open = "until a moment ago another process of this user could open this one's memory";
  // Neither start can be helped by a copy then: memory can be locked against execution (vm.memfd_noexec).
  if (wasOpen && !isRoot) {
    if (startedByRoot)
      return [
        {
          message: open,
          hints: [INSTALL, "or allow executable memory files (vm.memfd_noexec=0)"],
          exitCode,
        },
      ];
    return [{ message: `${open}, or take the key's pipe over`, hints: [INSTALL], exitCode }];
  }
  // A copy was made because the file can be read, so the first start, too, was open for a moment; unless root started it.
  if (!isCopy() || startedByRoot) return [];
  const message =
    "a process of this user that was there before could have taken the key's pipe over, because the program's file can be read";
  return [{ message, hints: [INSTALL], exitCode }];
}

/** What is open in a user namespace that somebody made. */
export const NAMESPACE_GAP = {
  message: "the process is in a user namespace, whose owner's processes can read its memory",
  hints: [
    "start it outside, for example by root with --user; a rootless container and bubblewrap are such namespaces",
  ],
} as const;

const INSTALL = "install it so that its user cannot read it: install -o root -g GROUP -m 0710";

/** The user ID the process has, all four alike. */
function refuseOtherUsers({ user }: Options, status: Status): number {
  const [uid, ...others] = userIds(status);
  const wanted = user === undefined ? undefined : resolveUser(user).uid;
  if (others.some((other) => other !== uid) || (wanted !== undefined && wanted !== uid)) {
    throw new UserError(`the process is not user ${wanted ?? uid} for good`, EXIT.user);
  }
  return uid!;
}

function refuseTracer(status: Status): void {
  const pid = tracer(status);
  if (pid === 0) return;
  throw new UserError(`process ${pid} is tracing this one and could read the key`, EXIT.traced, [
    "start it without a debugger and without strace",
  ]);
}

/** What of the sandbox holds. */
function restrict(missing: Missing[]): string[] {
  // Before the filter, which leaves no way to ask.
  const landlock = landlockGap();
  const held = isShutIn() ? [`landlock(abi ${landlockAbi()})`] : [];
  const { filter, executableGain } = shutOff();
  const gaps = [landlock, filter ? undefined : SECCOMP_GAP, executableGain ? undefined : MDWE_GAP];
  for (const gap of gaps) if (gap !== undefined) missing.push({ ...gap, exitCode: EXIT.strict });
  return [...held, ...(filter ? ["seccomp"] : []), ...(executableGain ? ["mdwe"] : [])];
}

/** Throws UserError for what --strict or --require-mlock wants and is not there: the first, with all the others. */
function refuseMissing({ strict, requireMlock }: Options, missing: readonly Missing[]): void {
  const errors = missing.flatMap(({ message, hints, exitCode }) =>
    exitCode !== undefined && (strict || (requireMlock && exitCode === EXIT.memoryLock))
      ? [new UserError(message, exitCode, hints)]
      : [],
  );
  const [first, ...others] = errors;
  if (first !== undefined) throw new UserError(first.message, first.exitCode, first.hints, others);
}
