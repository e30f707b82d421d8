// What the process may no longer ask of the kernel once it runs (seccomp(2)): a filter in readable form, and its assembler.

import { ARCHITECTURE, type Architecture } from "./architecture.ts";
import { struct } from "./c-data.ts";
import { check, errno, libc, ptr, SystemCallError } from "./libc.ts";
import { type SyscallName, syscallNumber } from "./syscalls.ts";

/** What happens to a system call: it goes on, it fails with EPERM or ENOSYS, or the process dies. */
export type Action = "allow" | "EPERM" | "ENOSYS" | "kill";

/** Answered with EPERM whatever the arguments. Nothing in serving needs them; whoever took the process over would. */
export const DENIED: readonly SyscallName[] = [
  // other programs
  ...(["execve", "execveat", "fork", "vfork"] as const),
  // other processes
  ...([
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "perf_event_open",
  ] as const),
  // ways around this filter, and kernel surface that is rich in bugs
  ...([
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "userfaultfd",
    "modify_ldt",
    "personality",
  ] as const),
  // keyrings
  ...(["keyctl", "add_key", "request_key"] as const),
  // namespaces and mounts
  ...([
    "unshare",
    "setns",
    "mount",
    "umount2",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
  ] as const),
  ...(["pivot_root", "chroot", "open_by_handle_at"] as const),
  // memory that must stay locked
  ...(["munlock", "munlockall"] as const),
  // the machine
  ...([
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
  ] as const),
  ...(["acct", "quotactl", "ioperm", "iopl"] as const),
];

const CLONE_THREAD = 0x10000;
const PR_SET_DUMPABLE = 4;
const IPPROTO_MPTCP = 262;
const MSG_FASTOPEN = 0x20000000;

// struct seccomp_data: int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; both architectures are little-endian
const OFFSET_NR = 0;
const OFFSET_ARCH = 4;
const OFFSET_ARGUMENTS = 16;

const AUDIT_ARCH: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** Numbers from here on are the x32 ABI's, which names the same calls differently. */
const X32_BIT = 0x40000000;

const RETURN: Record<Action, number> = {
  allow: 0x7fff0000,
  EPERM: 0x00050000 | 1,
  ENOSYS: 0x00050000 | 38,
  kill: 0x80000000,
};

/** One instruction of classic BPF: struct sock_filter { __u16 code; __u8 jt; __u8 jf; __u32 k; } */
export type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

const load = (offset: number): Instruction => [0x20, 0, 0, offset];
const answer = (action: Action): Instruction => [0x06, 0, 0, RETURN[action]];
const skip = (instructions: number): Instruction => [0x05, 0, 0, instructions];
// Each condition decides about the one instruction behind it, so there are no other jumps to compute.
const ifEqual = (value: number): Instruction => [0x15, 0, 1, value];
const ifAtLeast = (value: number): Instruction => [0x35, 0, 1, value];
const unlessEqual = (value: number): Instruction => [0x15, 1, 0, value];
const ifAnyBit = (bits: number): Instruction => [0x45, 0, 1, bits];
const unlessAnyBit = (bits: number): Instruction => [0x45, 1, 0, bits];

/** The filter for an architecture. */
export function filter(architecture: Architecture): Instruction[] {
  const number = (name: SyscallName): number => syscallNumber(name, architecture)!;
  const denied = DENIED.filter((name) => syscallNumber(name, architecture) !== undefined);
  /** EPERM for a call whose argument (its lower half) is such that the condition does not skip; else it goes on. */
  const unless = (name: SyscallName, argument: number, condition: Instruction): Instruction[] => [
    unlessEqual(number(name)),
    skip(4),
    load(OFFSET_ARGUMENTS + 8 * argument),
    condition,
    answer("EPERM"),
    answer("allow"),
  ];
  return [
    load(OFFSET_ARCH),
    unlessEqual(AUDIT_ARCH[architecture]),
    answer("kill"),

    load(OFFSET_NR),
    ...(architecture === "x64" ? [ifAtLeast(X32_BIT), answer("kill")] : []),
    // What depends on arguments goes first: the kernel remembers which of the others it always allows, and asks about these each time.
    // clone: threads only.
    ...unless("clone", 0, unlessAnyBit(CLONE_THREAD)),
    // prctl: not the one that would make the process dumpable again.
    ...unless("prctl", 0, ifEqual(PR_SET_DUMPABLE)),
    // Two ways to connect that Landlock does not see: MPTCP, and TCP Fast Open in the flags of sending.
    ...unless("socket", 2, ifEqual(IPPROTO_MPTCP)),
    ...unless("sendto", 3, ifAnyBit(MSG_FASTOPEN)),
    ...unless("sendmsg", 2, ifAnyBit(MSG_FASTOPEN)),
    ...unless("sendmmsg", 3, ifAnyBit(MSG_FASTOPEN)),

    ...denied.flatMap((name) => [ifEqual(number(name)), answer("EPERM")]),
    // The flags of clone3 are behind a pointer, where no filter sees them; on ENOSYS the libc makes its threads with clone.
    ifEqual(number("clone3")),
    answer("ENOSYS"),
    answer("allow"),
  ];
}

const SECCOMP_SET_MODE_FILTER = 1n;
const SECCOMP_FILTER_FLAG_TSYNC = 1n;

/** Puts the filter on every thread. Throws SystemCallError; needs no_new_privs. */
export function installFilter(): void {
  const instructions = filter(ARCHITECTURE);
  const program = new Uint32Array(Math.max(instructions.length * 2, 256));
  for (const [index, [code, jumpTrue, jumpFalse, k]] of instructions.entries())
    program.set([code | (jumpTrue << 16) | (jumpFalse << 24), k], index * 2);
  // struct sock_fprog { unsigned short len; struct sock_filter *filter; }
  const header = struct();
  header.writeUInt16LE(instructions.length, 0);
  header.writeBigUInt64LE(BigInt(ptr(program)), 8);
  const number = BigInt(syscallNumber("seccomp")!);
  const result = libc.syscall(
    number,
    SECCOMP_SET_MODE_FILTER,
    SECCOMP_FILTER_FLAG_TSYNC,
    BigInt(ptr(header)),
    0n,
    0n,
    0n,
  );
  check("seccomp", result);
  // A positive answer is the thread that could not be brought along, which leaves all as they were (seccomp(2)).
  if (result !== 0n) throw new SystemCallError("seccomp", errno());
}
