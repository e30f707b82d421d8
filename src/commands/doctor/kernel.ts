// What the kernel has of that which the proxy asks it for.

import { SystemCallError } from "../../../native/ffi/libc.ts";
import { closeOthersOnExec } from "../../../native/files/descriptors.ts";
import { readText, readTextIfThere } from "../../../native/files/files.ts";
import { isCopiedOnDisk } from "../../../native/process/image.ts";
import { forbidNewPrivileges, tracer } from "../../../native/process/process.ts";
import { landlockAbi } from "../../../native/sandbox/landlock.ts";
import { KERNEL_NEEDED } from "../../lockdown/reexec.ts";
import {
  type Gap,
  landlockGap,
  MDWE_GAP,
  SECCOMP_GAP,
  shutInWholly,
  shutOff,
} from "../../lockdown/sandbox.ts";
import { type Check, type CheckId, fatal, ok, strictly, warning } from "./checks.ts";

const UNREADABLE = "have root own the program's file, with mode 0710, so that its user cannot read it";

/** `isOpen`: the user can read the program's file. */
export function checkKernel(start: { isOpen: boolean; startedByRoot: boolean }): Check[] {
  return [describeKernel(), describeMemoryFiles(start), describeYama(start), describeTracer()];
}

/** Tries what cannot be taken back: so it goes last. */
export function checkSandbox(): Check[] {
  forbidNewPrivileges();
  shutInWholly();
  const landlock = landlockGap();
  const abi = landlockAbi();
  const { filter, executableGain } = shutOff();
  return [
    landlock === undefined
      ? ok("landlock", `ABI ${abi}: files, TCP ports, signals`)
      : gap("landlock", landlock),
    filter ? ok("seccomp", "the filter was installed, on every thread") : gap("seccomp", SECCOMP_GAP),
    executableGain ? ok("mdwe", "no memory becomes executable (PR_SET_MDWE)") : gap("mdwe", MDWE_GAP),
  ];
}

/** In the words of the start's warning. */
function gap(id: CheckId, { message, hints }: Gap): Check {
  return strictly(id, message, hints.join("; "));
}

/** The one call the start cannot do without that some kernels do not have. */
function describeKernel(): Check {
  const version = `Linux ${readText("/proc/sys/kernel/osrelease").trim()}`;
  try {
    closeOthersOnExec();
    return ok("kernel", version);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return fatal("kernel", `${version} (${error.message})`, KERNEL_NEEDED);
  }
}

function describeMemoryFiles({ isOpen }: { isOpen: boolean }): Check {
  const value = sysctl("vm/memfd_noexec");
  if (value === undefined)
    return ok("memfd-noexec", "not there (before Linux 6.3): copies in memory can be executed");
  if (value !== "2") return ok("memfd-noexec", `${value}: a copy in memory can be executed`);
  if (!isOpen) return ok("memfd-noexec", "2: no copy in memory can be executed, and none is needed");
  if (isCopiedOnDisk())
    return ok("memfd-noexec", "2: no copy in memory can be executed, and one on a disk can");
  return strictly(
    "memfd-noexec",
    "2: no copy in memory can be executed, so another process of this user can open the proxy's memory at its start",
    UNREADABLE,
  );
}

/** Yama is a second lock on a door that a file nobody can read keeps shut, and that the program shuts as its first deed. */
function describeYama({ isOpen, startedByRoot }: { isOpen: boolean; startedByRoot: boolean }): Check {
  const value = sysctl("kernel/yama/ptrace_scope");
  const scope = value === undefined ? "not there" : `ptrace_scope ${value}`;
  if (value !== undefined && value !== "0") return ok("yama", `${scope}: who is not the parent cannot trace`);
  if (!isOpen || startedByRoot) return ok("yama", `${scope}, and not needed: nobody can trace the start`);
  return warning(
    "yama",
    `${scope}: processes of the same user can trace the start`,
    value === undefined ? UNREADABLE : "sysctl kernel.yama.ptrace_scope=1; or install it with mode 0710",
  );
}

function describeTracer(): Check {
  const pid = tracer();
  if (pid === 0) return ok("tracer", "none");
  return fatal(
    "tracer",
    `process ${pid} is tracing this one`,
    "start it without a debugger and without strace",
  );
}

function sysctl(name: string): string | undefined {
  return readTextIfThere(`/proc/sys/${name}`)?.trim();
}
