// Classic BPF for seccomp(2): the instructions that the system call filter uses, and its installation.

import { struct } from "../ffi/c-data.ts";
import { check, errno, libc, ptr, SystemCallError } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";

/** What happens to a system call: it is allowed, it fails with EPERM or ENOSYS, or the process is killed. */
export type Action = "allow" | "EPERM" | "ENOSYS" | "kill";

const RETURN: Record<Action, number> = {
  allow: 0x7fff0000,
  EPERM: 0x00050000 | 1,
  ENOSYS: 0x00050000 | 38,
  kill: 0x80000000,
};

// struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
// The filter loads the lower half of an argument, which is all that the kernel reads of an int.
export const OFFSET_NR = 0;
export const OFFSET_ARCH = 4;
export const OFFSET_ARGUMENTS = 16;

/** One instruction: struct sock_filter { __u16 code; __u8 jt; __u8 jf; __u32 k; } */
export type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

export const load = (offset: number): Instruction => [0x20, 0, 0, offset];
/** Leaves only these bits of the loaded value. */
export const keepBits = (bits: number): Instruction => [0x54, 0, 0, bits];
export const result = (action: Action): Instruction => [0x06, 0, 0, RETURN[action]];
// Each condition decides whether the next instruction runs or is skipped.
export const ifEqual = (value: number): Instruction => [0x15, 0, 1, value];
export const ifAtLeast = (value: number): Instruction => [0x35, 0, 1, value];
export const unlessEqual = (value: number): Instruction => [0x15, 1, 0, value];
export const ifAnyBit = (bits: number): Instruction => [0x45, 0, 1, bits];
export const unlessAnyBit = (bits: number): Instruction => [0x45, 1, 0, bits];

/** Runs the instructions for one system call and skips them for any other. They must end in a result. */
export function onlyFor(number: number, instructions: readonly Instruction[]): Instruction[] {
  return [[0x15, 0, instructions.length, number], ...instructions];
}

/** Returns EPERM unless the loaded value is one of these; otherwise continues with the next instruction. */
export function refuseUnlessOneOf(values: readonly number[]): Instruction[] {
  const matches = values.map((value, index): Instruction => [0x15, values.length - index, 0, value]);
  return [...matches, result("EPERM")];
}

const SECCOMP_SET_MODE_FILTER = 1n;
const SECCOMP_FILTER_FLAG_TSYNC = 1n;

/** Installs a filter on every thread (seccomp(2)). Requires no_new_privs. Throws SystemCallError. */
export function install(instructions: readonly Instruction[]): void {
  const program = new Uint32Array(Math.max(instructions.length * 2, 256));
  let at = 0;
  for (const [code, jumpTrue, jumpFalse, k] of instructions) {
    program[at++] = code | (jumpTrue << 16) | (jumpFalse << 24);
    program[at++] = k;
  }
  // struct sock_fprog { unsigned short len; struct sock_filter *filter; }
  const header = struct();
  header.writeUInt16LE(instructions.length, 0);
  header.writeBigUInt64LE(BigInt(ptr(program)), 8);
  const number = BigInt(syscallNumber("seccomp")!);
  const address = BigInt(ptr(header));
  const outcome = libc.syscall(
    number,
    SECCOMP_SET_MODE_FILTER,
    SECCOMP_FILTER_FLAG_TSYNC,
    address,
    0n,
    0n,
    0n,
  );
  check("seccomp", outcome);
  // A positive result is the ID of a thread that could not take the filter; then none has it (seccomp(2)).
  if (outcome !== 0n) throw new SystemCallError("seccomp", errno());
}
