// What the kernel has of that which the proxy asks it for.

import { closeOthersOnExec } from "../native/descriptors.ts";
import { readText } from "../native/files.ts";
import { landlockAbi } from "../native/landlock.ts";
import { SystemCallError } from "../native/libc.ts";
import { forbidNewPrivileges, tracer } from "../native/process.ts";
import { type Check, fatal, ok, strictly, warning } from "./checks.ts";
import { shutOff } from "./sandbox.ts";

const NEWER = "this takes a newer kernel, or one that has it enabled";
const UNREADABLE = "have root own the program's file, with mode 0711, so that its user cannot read it";

/** `isOpen`: the user can read the program's file. */
export function checkKernel(start: { isOpen: boolean; startedByRoot: boolean }): Check[] {
  return [
    describeKernel(),
    describeLandlock(),
    describeMemoryFiles(start),
    describeYama(start),
    describeTracer(),
  ];
}

/** Tries what cannot be taken back: so it goes last. */
export function checkSandbox(): Check[] {
  forbidNewPrivileges();
  const { filter, executableGain } = shutOff();
  return [
    filter
      ? ok("seccomp", "the filter was installed, on every thread")
      : strictly("seccomp", "the filter cannot be installed: system calls are not restricted", NEWER),
    executableGain
      ? ok("mdwe", "no memory becomes executable (PR_SET_MDWE)")
      : strictly("mdwe", "memory can become executable: no PR_SET_MDWE, which Linux 6.3 has", NEWER),
  ];
}

/** The one call the start cannot do without that some kernels do not have. */
function describeKernel(): Check {
  const version = `Linux ${readText("/proc/sys/kernel/osrelease").trim()}`;
  try {
    closeOthersOnExec();
    return ok("kernel", version);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return fatal("kernel", `${version} (${error.message})`, "the proxy takes Linux 5.11 or later");
  }
}

function describeLandlock(): Check {
  const abi = landlockAbi();
  if (abi === 0) return strictly("landlock", "not there: files, ports and signals are not restricted", NEWER);
  if (abi < 4)
    return strictly(
      "landlock",
      `ABI ${abi}: files; neither TCP ports (ABI 4) nor signals (ABI 6)`,
      "Linux 6.12 has all of it",
    );
  if (abi < 6)
    return strictly(
      "landlock",
      `ABI ${abi}: files and TCP ports; not signals (ABI 6)`,
      "Linux 6.12 has all of it",
    );
  return ok("landlock", `ABI ${abi}: files, TCP ports, signals`);
}

function describeMemoryFiles({ isOpen }: { isOpen: boolean }): Check {
  const value = sysctl("vm/memfd_noexec");
  if (value === undefined)
    return ok("memfd-noexec", "not there (before Linux 6.3): copies in memory can be executed");
  if (value !== "2") return ok("memfd-noexec", `${value}: a copy in memory can be executed`);
  if (!isOpen) return ok("memfd-noexec", "2: no copy in memory can be executed, and none is needed");
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
    value === undefined ? UNREADABLE : "sysctl kernel.yama.ptrace_scope=1; or install it with mode 0711",
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
  try {
    return readText(`/proc/sys/${name}`).trim();
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}
