// The seccomp filter decides as its table says, run by an interpreter; and the system call numbers are the kernel's.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import type { Architecture } from "../../native/ffi/architecture.ts";
import { type SyscallName, syscallNumber, SYSCALLS } from "../../native/ffi/syscalls.ts";
import type { Action, Instruction } from "../../native/sandbox/bpf.ts";
import { filter } from "../../native/sandbox/seccomp.ts";
import { kernelHeader, lacks } from "../harness/needs.ts";

const ARCHITECTURES: Architecture[] = ["x64", "arm64"];
const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7 };
const ACTIONS: Record<number, Action> = {
  0x7fff0000: "allow",
  0x00050001: "EPERM",
  0x00050026: "ENOSYS",
  0x80000000: "kill",
};
const PID = 4711;

/** Returns the filter's decision on a system call. Interprets the classic BPF instructions that the filter uses. */
function run(
  program: readonly Instruction[],
  audit: number,
  nr: number,
  args: readonly number[] = [],
): Action {
  const data: Record<number, number> = { 0: nr, 4: audit };
  for (let index = 0; index < 6; index++) data[16 + 8 * index] = args[index] ?? 0;
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const [code, jumpTrue, jumpFalse, k] = program[at]!;
    const jump = (holds: boolean): void => void (at += holds ? jumpTrue : jumpFalse);
    if (code === 0x20) accumulator = data[k]!;
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x45) jump((accumulator & k) !== 0);
    else if (code === 0x54) accumulator &= k;
    else if (code === 0x06) return ACTIONS[k]!;
    else throw new Error(`unknown instruction ${code}`);
  }
}

/** Calls that are decided by their arguments: what each rule refuses, and the neighbour that it allows. */
const RULES: [what: string, action: Action, call: SyscallName, args: number[]][] = [
  ["a TCP socket", "allow", "socket", [2, 0x80801, 0]],
  ["a TCP socket, named", "allow", "socket", [2, 1, 6]],
  ["a UDP socket over IPv6", "allow", "socket", [10, 2, 17]],
  ["a UDP socket, as glibc's resolver makes it", "allow", "socket", [2, 0x80802, 0]],
  ["a SEQPACKET socket, which is SCTP", "EPERM", "socket", [2, 5, 0]],
  ["a SEQPACKET socket with flags", "EPERM", "socket", [10, 0x80805, 0]],
  ["a SEQPACKET socket, named as TCP", "EPERM", "socket", [2, 5, 6]],
  ["a raw socket", "EPERM", "socket", [2, 3, 0]],
  ["a socket without a type", "EPERM", "socket", [2, 0, 0]],
  ["an MPTCP socket", "EPERM", "socket", [2, 1, 262]],
  ["an ICMP socket", "EPERM", "socket", [2, 2, 1]],
  ["a Unix socket", "EPERM", "socket", [1, 1, 0]],
  ["a netlink socket", "EPERM", "socket", [16, 3, 4]],
  ["a packet socket", "EPERM", "socket", [17, 3, 0]],
  ["a VSOCK socket", "EPERM", "socket", [40, 1, 0]],
  ["an ALG socket", "EPERM", "socket", [38, 5, 0]],
  ["sending", "allow", "sendto", [0, 0, 0, 0x4000]],
  ["sending with TCP Fast Open", "EPERM", "sendto", [0, 0, 0, 0x20004000]],
  ["sending a message", "allow", "sendmsg", [0, 0, 0x4000]],
  ["sending a message with TCP Fast Open", "EPERM", "sendmsg", [0, 0, 0x20000000]],
  ["sending messages", "allow", "sendmmsg", [0, 0, 0, 0]],
  ["sending messages with TCP Fast Open", "EPERM", "sendmmsg", [0, 0, 0, 0x20000000]],
  ["opening a file", "allow", "openat", [0, 0, 0x80041]],
  ["opening a file and emptying it", "EPERM", "openat", [0, 0, 0x80201]],
  ["a thread", "allow", "clone", [0x3d0f00]],
  ["a process (fork)", "EPERM", "clone", [0x1200011]],
  ["a thread in a new network namespace", "EPERM", "clone", [0x403d0f00]],
  ["a thread in a new mount namespace", "EPERM", "clone", [0x3f0f00]],
  ["clone3, whose flags cannot be seen", "ENOSYS", "clone3", [0]],
  ["asking whether it is dumpable", "allow", "prctl", [3]],
  ["making the process dumpable again", "EPERM", "prctl", [4]],
  ["naming a thread", "allow", "prctl", [15]],
  ["an ambient capability", "EPERM", "prctl", [47]],
  ["another filter", "EPERM", "prctl", [22]],
  ["asking whether it is a terminal", "allow", "ioctl", [0, 0x5401]],
  ["typing into a terminal (TIOCSTI)", "EPERM", "ioctl", [0, 0x5412]],
  ["selecting on a console (TIOCLINUX)", "EPERM", "ioctl", [0, 0x541c]],
  ["taking a terminal over (TIOCSCTTY)", "EPERM", "ioctl", [0, 0x540e]],
  ["changing a terminal (TCSETS)", "EPERM", "ioctl", [0, 0x5402]],
  ["a descriptor's flags", "allow", "fcntl", [0, 4]],
  ["a second descriptor", "allow", "fcntl", [0, 1030]],
  ["whom a descriptor signals (F_SETOWN)", "EPERM", "fcntl", [0, 8]],
  ["whom a descriptor signals (F_SETOWN_EX)", "EPERM", "fcntl", [0, 15]],
  ["one's own limits", "allow", "prlimit64", [0, 7]],
  ["one's own limits, by number", "allow", "prlimit64", [PID, 7]],
  ["another process's limits", "EPERM", "prlimit64", [PID + 1, 0]],
  ["a signal to a thread of one's own", "allow", "tgkill", [PID, 1, 30]],
  ["a signal to another process", "EPERM", "tgkill", [PID + 1, 1, 9]],
];
const DECIDED = new Set<SyscallName>(["open", ...RULES.map(([, , call]) => call)]);

/** The whole list of calls that are allowed with any arguments: written down, so that an addition is seen. */
const EVERYWHERE =
  "accept accept4 bind brk clock_getres clock_gettime clock_nanosleep close connect dup dup3 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 eventfd2 exit exit_group faccessat faccessat2 fstat futex get_robust_list getcpu getcwd getdents64 getegid geteuid getgid getgroups getpeername getpid getppid getrandom getresgid getresuid getrlimit getrusage getsockname getsockopt gettid gettimeofday getuid listen lseek madvise membarrier mlock mlock2 mmap mprotect mremap munmap nanosleep newfstatat pipe2 ppoll pread64 pselect6 pwrite64 read readlinkat readv recvfrom recvmmsg recvmsg renameat restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam sched_getscheduler sched_yield set_robust_list set_tid_address setsockopt shutdown sigaltstack statx sysinfo tkill uname unlinkat write writev";
const ALLOWED = {
  x64: `${EVERYWHERE} access dup2 epoll_wait lstat poll readlink select stat time`.split(" "),
  arm64: EVERYWHERE.split(" "),
};

describe.each(ARCHITECTURES)("the filter on %s", (architecture) => {
  const program = filter(architecture, PID);
  const audit = AUDIT[architecture];
  const number = (name: SyscallName): number | undefined => syscallNumber(name, architecture);

  test.each(RULES)("%s: %s", (_what, action, call, args) => {
    expect(run(program, audit, number(call)!, args)).toBe(action);
  });

  if (number("open") !== undefined)
    test("open, too, empties no file", () => {
      expect(run(program, audit, number("open")!, [0, 0x80041])).toBe("allow");
      expect(run(program, audit, number("open")!, [0, 0x80200])).toBe("EPERM");
    });

  test("allows the listed calls, and no other number", () => {
    const decided = new Set([...DECIDED].map(number));
    const names = new Map(Object.keys(SYSCALLS).map((name) => [number(name as SyscallName), name]));
    const allowed: string[] = [];
    for (let nr = 0; nr < 1024; nr++) {
      if (decided.has(nr)) continue;
      const action = run(program, audit, nr, [1, 1, 1, 1, 1, 1]);
      if (action === "allow") allowed.push(names.get(nr) ?? String(nr));
      else expect(action, String(nr)).toBe("ENOSYS");
    }
    expect(allowed.toSorted()).toEqual(ALLOWED[architecture].toSorted());
  });

  test("kills another architecture, and x32", () => {
    const other = AUDIT[architecture === "x64" ? "arm64" : "x64"];
    expect(run(program, other, number("connect")!)).toBe("kill");
    if (architecture === "x64") expect(run(program, audit, 0x40000000 + 59)).toBe("kill");
  });
});

describe("the numbers are the kernel's", () => {
  function expectTheKernels(architecture: Architecture): void {
    const header = kernelHeader(architecture)!;
    const defined = [...readFileSync(header, "utf8").matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)$/gm)];
    const numbers = new Map(defined.map(([, name, number]) => [name!, Number(number)]));
    // The same call has this name on architectures without the older one.
    if (architecture === "arm64") numbers.set("newfstatat", numbers.get("fstatat")!);
    for (const name of Object.keys(SYSCALLS) as SyscallName[]) {
      expect(syscallNumber(name, architecture), name).toBe(numbers.get(name));
    }
  }

  test.skipIf(lacks("the kernel's headers for x64"))("on x64 (needs the kernel's headers for x64)", () =>
    expectTheKernels("x64"),
  );
  test.skipIf(lacks("the kernel's headers for arm64"))(
    "on arm64 (needs the kernel's headers for arm64)",
    () => expectTheKernels("arm64"),
  );
});
