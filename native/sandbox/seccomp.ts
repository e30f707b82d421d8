// The system calls that the process may make while it serves, some with certain arguments only (seccomp(2)).
//
// The list comes from traces of the whole test suite on glibc and musl. It has a margin for other versions
// of these: if an older and a newer call do the same, both are allowed. Every other call fails with ENOSYS,
// so that a libc that tries a newer call falls back to the older one. The process can no longer execute a
// program, fork, create a namespace or a memory file, chmod, or use keyrings or io_uring.

import { ARCHITECTURE, type Architecture } from "../ffi/architecture.ts";
import { type SyscallName, syscallNumber } from "../ffi/syscalls.ts";
import {
  ifAnyBit,
  ifAtLeast,
  ifEqual,
  install,
  type Instruction,
  keepBits,
  load,
  OFFSET_ARCH,
  OFFSET_ARGUMENTS,
  OFFSET_NR,
  onlyFor,
  refuseUnlessOneOf,
  result,
  unlessAnyBit,
  unlessEqual,
} from "./bpf.ts";

type Words<Text extends string> = Text extends `${infer Word} ${infer Rest}` ? Word | Words<Rest> : Text;
const words = <Text extends string>(text: Text): Words<Text>[] => text.split(" ") as Words<Text>[];

/** Allowed with any arguments. */
export const ALLOWED: readonly SyscallName[] = [
  // input and output, and waiting for it
  ...words("read write readv writev pread64 pwrite64 close lseek poll ppoll select pselect6"),
  ...words("epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 pipe2 dup dup2 dup3"),
  // files, within what Landlock allows
  ...words("stat fstat lstat newfstatat statx access faccessat faccessat2 readlink"),
  ...words("readlinkat getcwd getdents64 unlinkat renameat"),
  // memory
  ...words("mmap munmap mprotect mremap madvise brk mlock mlock2 membarrier"),
  // threads and their signals
  ...words("set_robust_list get_robust_list set_tid_address rseq futex sched_yield sched_getaffinity"),
  ...words("sched_getparam sched_getscheduler exit exit_group gettid getpid getppid tkill"),
  ...words("rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigpending"),
  ...words("sigaltstack restart_syscall"),
  // time, and facts about the process
  ...words("clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrusage sysinfo"),
  ...words("getuid geteuid getgid getegid getgroups getresuid getresgid uname getrlimit getrandom"),
  ...words("getcpu"),
  // the network
  ...words("connect bind listen accept4 accept getsockname getpeername setsockopt getsockopt"),
  ...words("recvfrom recvmsg recvmmsg shutdown"),
];

/** linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 */
const AUDIT_ARCH: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** Numbers from here on belong to the x32 ABI, which numbers the same calls differently. */
const X32_BIT = 0x40000000;

const CLONE_THREAD = 0x10000;
/** CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NEW_NAMESPACES = 0x80 | 0x20000 | 0x7e000000;
const MSG_FASTOPEN = 0x20000000;
const O_TRUNC = 0x200;

/** AF_INET and AF_INET6. No AF_UNIX: services of the same user would act for the process, unrestricted. */
const SOCKET_DOMAINS = [2, 10];
/** SOCK_STREAM and SOCK_DGRAM, behind the flags. No SOCK_SEQPACKET, which is SCTP: Landlock does not restrict it. */
const SOCKET_TYPES = [1, 2];
const SOCKET_TYPE_BITS = 0xf;
/** The default, TCP and UDP. No MPTCP: Landlock does not restrict it. */
const SOCKET_PROTOCOLS = [0, 6, 17];
/** F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. No F_SETOWN, which sends signals. */
const FCNTL_COMMANDS = [0, 1, 2, 3, 4, 1030];
/** TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2. No TIOCSTI: it types at a terminal. */
const IOCTL_REQUESTS = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451, 0x802c542a];
/** PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA (names of mappings). No PR_SET_DUMPABLE. */
const PRCTL_OPTIONS = [3, 15, 16, 0x53564d41];

/** Returns the filter for an architecture and the process `pid`. Pure. */
export function filter(architecture: Architecture, pid: number): Instruction[] {
  const number = (name: SyscallName): number => syscallNumber(name, architecture)!;
  const argument = (index: number): Instruction => load(OFFSET_ARGUMENTS + 8 * index);
  /** Allows the call if an argument has one of these values, else EPERM. */
  const oneOf = (name: SyscallName, index: number, values: readonly number[]): Instruction[] =>
    onlyFor(number(name), [argument(index), ...refuseUnlessOneOf(values), result("allow")]);
  /** EPERM if an argument has one of these bits, else allows the call. Nothing if the architecture has no such call. */
  const without = (name: SyscallName, index: number, bits: number): Instruction[] =>
    syscallNumber(name, architecture) === undefined
      ? []
      : onlyFor(number(name), [argument(index), ifAnyBit(bits), result("EPERM"), result("allow")]);
  const allowed = ALLOWED.map((name) => syscallNumber(name, architecture)).filter(
    (value) => value !== undefined,
  );
  return [
    load(OFFSET_ARCH),
    unlessEqual(AUDIT_ARCH[architecture]),
    result("kill"),

    load(OFFSET_NR),
    ...(architecture === "x64" ? [ifAtLeast(X32_BIT), result("kill")] : []),
    // Calls by argument come first: the kernel caches which calls it always allows, and runs the filter only
    // for the others.
    //
    // No TCP Fast Open: it connects without a call that Landlock restricts.
    ...without("sendto", 3, MSG_FASTOPEN),
    ...without("sendmsg", 2, MSG_FASTOPEN),
    ...without("sendmmsg", 3, MSG_FASTOPEN),
    // No emptying of files: Landlock restricts it from Linux 6.2 on only.
    ...without("openat", 2, O_TRUNC),
    ...without("open", 1, O_TRUNC),
    ...onlyFor(number("socket"), [
      argument(1),
      keepBits(SOCKET_TYPE_BITS),
      ...refuseUnlessOneOf(SOCKET_TYPES),
      argument(2),
      ...refuseUnlessOneOf(SOCKET_PROTOCOLS),
      argument(0),
      ...refuseUnlessOneOf(SOCKET_DOMAINS),
      result("allow"),
    ]),
    ...oneOf("fcntl", 1, FCNTL_COMMANDS),
    ...oneOf("ioctl", 1, IOCTL_REQUESTS),
    ...oneOf("prctl", 0, PRCTL_OPTIONS),
    ...oneOf("prlimit64", 0, [0, pid]),
    ...oneOf("tgkill", 0, [pid]),
    // Threads only, and no new namespaces.
    ...onlyFor(number("clone"), [
      argument(0),
      unlessAnyBit(CLONE_THREAD),
      result("EPERM"),
      ifAnyBit(CLONE_NEW_NAMESPACES),
      result("EPERM"),
      result("allow"),
    ]),

    // Not flatMap: its first call takes 0.5 to 2 ms of the start (docs/bun.md).
    ...allowed.map((value) => [ifEqual(value), result("allow")]).flat(),
    // Also for clone3: a filter cannot read its flags, which are behind a pointer. The libc falls back to
    // clone.
    result("ENOSYS"),
  ];
}

/** Installs the filter on every thread. Requires no_new_privs. Throws SystemCallError. */
export function installFilter(): void {
  install(filter(ARCHITECTURE, process.pid));
}
