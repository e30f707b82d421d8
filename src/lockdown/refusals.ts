// What keeps the program from starting, whatever its options are.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { checkNullDevice } from "../../native/files/descriptors.ts";
import type { Status } from "../../native/process/proc-status.ts";
import { raiseFileLimit, tracerPid } from "../../native/process/process.ts";
import { EXIT, UserError } from "../base/errors.ts";

/** The proxy's own, and ten exchanges at a time. */
const MIN_DESCRIPTORS = 32;

/** Raises the limit on open files to the hard limit, which an execve keeps. Throws UserError if that is too few to serve. */
export function refuseFewDescriptors(): void {
  const { soft, hard } = raiseFileLimit();
  if (soft !== hard) throw new UserError("the limit on open files cannot be raised", EXIT.unprotected);
  if (soft >= MIN_DESCRIPTORS) return;
  throw new UserError(
    `the limit on open files (RLIMIT_NOFILE) is ${soft}, and the proxy requires ${MIN_DESCRIPTORS}`,
    EXIT.cannotStart,
    [`start it where ulimit -Hn shows ${MIN_DESCRIPTORS} or more; each exchange takes two`],
  );
}

/** Standard input and standard error are replaced by /dev/null once the key is read. Throws UserError if that cannot be done. */
export function refuseWithoutNull(): void {
  try {
    checkNullDevice();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    throw new UserError(`/dev/null cannot be used (${error.message})`, EXIT.cannotStart, [
      "the null device must be there, and usable by the proxy's user: mknod -m 666 /dev/null c 1 3, on a file system without nodev",
    ]);
  }
}

/** Throws UserError if a process traces this one. */
export function refuseTracer(status: Status): void {
  const pid = tracerPid(status);
  if (pid === 0) return;
  throw new UserError(`process ${pid} is tracing this one and could read the key`, EXIT.unprotected, [
    "start it without a debugger and without strace",
  ]);
}
