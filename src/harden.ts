// What must hold before the key is read, and what should. Each step looks at the system's answer, not at its own call.

import { userIds } from "../native/credentials.ts";
import { isCopy } from "../native/image.ts";
import { landlockAbi } from "../native/landlock.ts";
import { SystemCallError } from "../native/libc.ts";
import { lockAllMemory } from "../native/memory.ts";
import { ownStatus, type Status } from "../native/proc-status.ts";
import {
  forbidInspection,
  forbidNewPrivileges,
  isOpenToInspection,
  limitCoreDumps,
  nameProcess,
  raiseFileLimit,
  tracer,
} from "../native/process.ts";
import { EXIT, type ExitCode, UserError } from "./errors.ts";
import type { Options } from "./options.ts";
import { isShutIn, shutOff } from "./sandbox.ts";
import { resolveUser } from "./user.ts";

/** What holds, in words for the protections line, and what does not. */
export type Protections = { held: string[]; missing: Missing[] };

/** A protection that does not hold: what that means, what would mend it, and the exit code where it is wanted all the same. */
export type Missing = { message: string; hints: readonly string[]; exitCode: ExitCode };

/** Closes the process to others. Throws UserError where something does not hold that must, or that --strict or --require-mlock wants. */
export function harden(options: Options): Protections {
  const missing: Missing[] = [];
  const wasOpen = isOpenToInspection();
  // First, because until here another process of the same user could open /proc/PID/mem.
  if (!forbidInspection()) throw new UserError("the process cannot be made undumpable", EXIT.dumpable);
  const status = ownStatus();
  const isRoot = refuseOtherUsers(options, status) === 0;
  if (wasOpen && !isRoot) missing.push(OPEN_AT_START);
  // A copy was made because the file can be read, so the first start, too, was open for a moment; unless root started it.
  if (isCopy() && options.user === undefined) missing.push(OPEN_AT_FIRST_START);
  refuseTracer(status);
  nameProcess("responses-proxy");
  if (!forbidNewPrivileges()) throw new UserError("no_new_privs cannot be set", EXIT.newPrivileges);
  const core = limitCoreDumps();
  if (core.soft > 1n || core.hard > 1n) throw new UserError("core dumps cannot be forbidden", EXIT.coreDumps);
  const files = raiseFileLimit();
  if (files.soft !== files.hard)
    throw new UserError("the limit on open files cannot be raised", EXIT.fileLimit);

  const isLocked = lockMemory(missing);
  const sandbox = shutUp(missing);
  const wanted = missing.find(
    ({ exitCode }) => options.strict || (options.requireMlock && exitCode === EXIT.memoryLock),
  );
  if (wanted !== undefined) throw new UserError(wanted.message, wanted.exitCode, wanted.hints);
  const held = [
    wasOpen ? "not dumpable" : "not dumpable from exec",
    ...(isLocked ? ["memory locked"] : []),
    "no core",
    ...(sandbox.length > 0 ? [`sandbox ${sandbox.join("+")}`] : []),
    isRoot ? "uid 0 (--user makes it another)" : `uid ${process.getuid!()}`,
  ];
  return { held, missing };
}

const INSTALL = "install it so that its user cannot read it: install -o root -g root -m 0711";

const OPEN_AT_START: Missing = {
  message: "until a moment ago another process of this user could open this one's memory",
  hints: [INSTALL, "or allow executable memory files (vm.memfd_noexec=0)"],
  exitCode: EXIT.strict,
};

const OPEN_AT_FIRST_START: Missing = {
  message:
    "a process of this user that was there before could have taken the key's pipe over, because the program's file can be read",
  hints: [INSTALL],
  exitCode: EXIT.strict,
};

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

function lockMemory(missing: Missing[]): boolean {
  try {
    lockAllMemory();
    return true;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    missing.push({
      message: `memory is not locked (${error.message}): copies of the key may be written to the swap device`,
      hints: [
        "give the file the capability: setcap cap_ipc_lock=ep /usr/local/bin/responses-api-proxy",
        "or start it as root, or with RLIMIT_MEMLOCK unlimited",
      ],
      exitCode: EXIT.memoryLock,
    });
    return false;
  }
}

/** What of the sandbox holds. */
function shutUp(missing: Missing[]): string[] {
  // Before the filter, which leaves no way to ask.
  const abi = landlockAbi();
  const { filter, executableGain } = shutOff();
  const layers: [name: string, holds: boolean, what: string][] = [
    [`landlock(abi ${abi})`, isShutIn(), "files and ports are not restricted (landlock)"],
    ["ports", abi >= 4, "TCP ports are not restricted (landlock before ABI 4, Linux 6.7)"],
    ["signals", abi >= 6, "signals to others are not restricted (landlock before ABI 6, Linux 6.12)"],
    ["seccomp", filter, "system calls are not restricted (seccomp)"],
    ["mdwe", executableGain, "memory can become executable (PR_SET_MDWE)"],
  ];
  for (const [, holds, what] of layers) {
    if (!holds)
      missing.push({
        message: what,
        hints: ["this takes a newer kernel, or one that has it enabled"],
        exitCode: EXIT.strict,
      });
  }
  return layers
    .filter(([name, holds]) => holds && name !== "ports" && name !== "signals")
    .map(([name]) => name);
}
