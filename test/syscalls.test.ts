// The seccomp filter as a table, run by an interpreter of its instructions; and the system call numbers against the kernel's headers.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Action, DENIED, filter, type Instruction } from "../native/seccomp.ts";
import { type Architecture, type SyscallName, syscallNumber, SYSCALLS } from "../native/syscalls.ts";
import { kernelHeader, lacks } from "./harness/needs.ts";

const ARCHITECTURES: Architecture[] = ["x64", "arm64"];
const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7 };
const ACTIONS: Record<number, Action> = {
  0x7fff0000: "allow",
  0x00050001: "EPERM",
  0x00050026: "ENOSYS",
  0x80000000: "kill",
};

/** What the filter says of a system call: classic BPF, as far as the filter uses it. */
function run(program: readonly Instruction[], audit: number, nr: number, argument = 0, at16 = 16): Action {
  const data: Record<number, number> = { 0: nr, 4: audit, 16: 0, 24: 0, 32: 0, 40: 0, [at16]: argument };
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const [code, jumpTrue, jumpFalse, k] = program[at]!;
    const jump = (holds: boolean): void => void (at += holds ? jumpTrue : jumpFalse);
    if (code === 0x20) accumulator = data[k]!;
    else if (code === 0x05) at += k;
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x45) jump((accumulator & k) !== 0);
    else if (code === 0x06) return ACTIONS[k]!;
    else throw new Error(`unknown instruction ${code}`);
  }
}

describe.each(ARCHITECTURES)("the filter on %s", (architecture) => {
  const program = filter(architecture);
  const audit = AUDIT[architecture];
  const number = (name: SyscallName): number => syscallNumber(name, architecture)!;

  test("denies what it lists", () => {
    const there = DENIED.filter((name) => syscallNumber(name, architecture) !== undefined);
    expect(there.length).toBeGreaterThan(35);
    for (const name of there) expect(run(program, audit, number(name)), name).toBe("EPERM");
  });

  const RULES: [name: string, action: Action, call: SyscallName, argument: number, at: number][] = [
    ["an MPTCP socket", "EPERM", "socket", 262, 32],
    ["a TCP socket", "allow", "socket", 6, 32],
    ["sending with TCP Fast Open", "EPERM", "sendto", 0x20004000, 40],
    ["sending", "allow", "sendto", 0x4000, 40],
    ["sending a message with TCP Fast Open", "EPERM", "sendmsg", 0x20000000, 32],
    ["sending a message", "allow", "sendmsg", 0x4000, 32],
    ["sending messages with TCP Fast Open", "EPERM", "sendmmsg", 0x20000000, 40],
    ["a thread", "allow", "clone", 0x3d0f00, 16],
    ["a process (fork)", "EPERM", "clone", 0x1200011, 16],
    ["clone3, whose flags cannot be seen", "ENOSYS", "clone3", 0, 16],
    ["making the process dumpable again", "EPERM", "prctl", 4, 16],
    ["naming a thread", "allow", "prctl", 15, 16],
    ["connecting", "allow", "connect", 0, 16],
    ["accepting", "allow", "accept4", 0, 16],
  ];
  test.each(RULES)("%s: %s", (_name, action, call, argument, at) => {
    expect(run(program, audit, number(call), argument, at)).toBe(action);
  });

  test("allows every other number", () => {
    const special = new Set(
      ["clone", "clone3", "prctl", ...DENIED].map((name) => number(name as SyscallName)),
    );
    for (let nr = 0; nr < 470; nr++) if (!special.has(nr)) expect(run(program, audit, nr)).toBe("allow");
  });

  test("kills another architecture, and x32", () => {
    const other = AUDIT[architecture === "x64" ? "arm64" : "x64"];
    expect(run(program, other, number("connect"))).toBe("kill");
    if (architecture === "x64") expect(run(program, audit, 0x40000000 + 59)).toBe("kill");
  });
});

describe("the numbers are the kernel's", () => {
  function expectTheKernels(architecture: Architecture): void {
    const header = kernelHeader(architecture)!;
    const defined = [...readFileSync(header, "utf8").matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)$/gm)];
    const numbers = new Map(defined.map(([, name, number]) => [name!, Number(number)]));
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
