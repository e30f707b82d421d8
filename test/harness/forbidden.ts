// The program with a hook, for tests: on SIGUSR2 it tries what the sandbox forbids, from inside, as one who took the process over
// would, and writes what came of each to standard output as a line of JSON.

import { spawnSync } from "node:child_process";
import { closeSync, openSync, promises, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";

// Put in by the build: the program has no other way to be told.
declare const FORBIDDEN_FILE: string;
declare const OTHER_PORT: number;
declare const OTHER_PID: number;

const outcome = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

async function attempt(deed: () => unknown): Promise<string> {
  try {
    await deed();
    return "OK";
  } catch (error) {
    return outcome(error);
  }
}

const connecting = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) => connect(port, "127.0.0.1").once("connect", resolve).once("error", reject));
const binding = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) =>
    createServer()
      .once("error", reject)
      .listen(port, "127.0.0.1", () => resolve(0)),
  );

async function tryAll(): Promise<void> {
  const { libc, errno } = await import("../../native/libc.ts");
  const { syscallNumber } = await import("../../native/syscalls.ts");
  const { getSystemErrorName } = await import("node:util");
  const call = (name: Parameters<typeof syscallNumber>[0], a = 0n): string => {
    const result = libc.syscall(BigInt(syscallNumber(name)!), a, 0n, 0n, 0n, 0n, 0n);
    return result === -1n ? getSystemErrorName(-errno()) : "OK";
  };
  const results = {
    "write, sync": await attempt(() => writeFileSync(FORBIDDEN_FILE, "x")),
    "write, async": await attempt(() => promises.writeFile(FORBIDDEN_FILE, "x")),
    "write, Bun.write": await attempt(() => Bun.write(FORBIDDEN_FILE, "x")),
    "write to a file that is there": await attempt(() => closeSync(openSync("/dev/zero", "r+"))),
    "connect elsewhere": await attempt(() => connecting(OTHER_PORT)),
    "bind elsewhere": await attempt(() => binding(OTHER_PORT + 1)),
    spawn: await attempt(() => {
      const { error } = spawnSync("/bin/true");
      if (error !== undefined) throw error;
    }),
    "Bun.spawn": await attempt(() => Bun.spawnSync(["/bin/true"])),
    "kill outside": await attempt(() => process.kill(OTHER_PID, 0)),
    "setuid(0)": await attempt(() => process.setuid!(0)),
    ptrace: call("ptrace", 0xffffn),
    unshare: call("unshare", 0x10000000n),
    bpf: call("bpf"),
    io_uring_setup: call("io_uring_setup"),
    keyctl: call("keyctl"),
    munlockall: call("munlockall"),
    "dumpable again": call("prctl", 4n),
  };
  process.stdout.write(`${JSON.stringify(results)}\n`);
}

process.on("SIGUSR2", () => void tryAll());
await import("../../src/main.ts");
