// The program with a hook: on SIGUSR2 it tries what the sandbox forbids, as an attacker inside the process would, and
// writes the results to standard output as a line of JSON.

import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  promises,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";

import { duplicate } from "../../native/files/descriptors.ts";
import { writeAll } from "../../native/files/files.ts";

// Replaced by the build.
declare const FORBIDDEN_FILE: string;
/** A file that the user owns, outside the directories that the sandbox lets the program write to. */
declare const CHANGED_FILE: string;
/** A file in a directory that may be written. */
declare const WRITABLE_FILE: string;
declare const OTHER_PORT: number;
declare const UPSTREAM_PORT: number;
declare const OTHER_PID: number;
/** A terminal of the user's, which is not the program's. */
declare const TERMINAL: string;

/** Standard output, which the program leaves. */
const OUTPUT = duplicate(1);

const outcome = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

async function attempt(deed: () => unknown): Promise<string> {
  try {
    await deed();
    return "OK";
  } catch (error) {
    return outcome(error);
  }
}

/** Has a Unix socket listen. */
const listening = (path: string): Promise<unknown> =>
  new Promise((resolve, reject) =>
    createServer()
      .once("error", reject)
      .listen(path, () => resolve(0)),
  );
const connecting = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) => connect(port, "127.0.0.1").once("connect", resolve).once("error", reject));
const sending = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.send("x", port, "127.0.0.1", (error) => (error === null ? resolve(0) : reject(error)));
  });
const receiving = (): Promise<unknown> =>
  new Promise((resolve, reject) =>
    createSocket("udp4")
      .once("error", reject)
      .bind(0, () => resolve(0)),
  );
const opening = (path: string, flags: number): void => closeSync(openSync(path, flags | constants.O_NOCTTY));
const connectingElsewhere = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) => connect(port, "127.0.0.2").once("connect", resolve).once("error", reject));
const binding = (port: number): Promise<unknown> =>
  new Promise((resolve, reject) =>
    createServer()
      .once("error", reject)
      .listen(port, "127.0.0.1", () => resolve(0)),
  );

/** System calls that nothing in the program makes: their numbers on x86_64 and aarch64 (asm/unistd.h). */
const FORBIDDEN = {
  ptrace: [101, 117],
  unshare: [272, 97],
  setns: [308, 268],
  bpf: [321, 280],
  io_uring_setup: [425, 425],
  keyctl: [250, 219],
  munlockall: [152, 231],
  memfd_create: [319, 279],
  pidfd_open: [434, 434],
  pidfd_send_signal: [424, 424],
  process_vm_readv: [310, 270],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  kcmp: [312, 272],
  shmget: [29, 194],
  msgget: [68, 186],
  semget: [64, 190],
  setpriority: [141, 140],
  timer_create: [222, 107],
  fchmodat: [268, 53],
  fchownat: [260, 54],
  setxattr: [188, 5],
  linkat: [265, 37],
  symlinkat: [266, 36],
  mount: [165, 40],
  seccomp: [317, 277],
} as const;

const LISTEN = [50, 201] as const;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE = 2;
const PR_SET_DUMPABLE = 4n;
const TIOCSTI = 0x5412n;
const F_SETOWN = 8n;
const RLIMIT_CPU = 0n;

async function tryAll(): Promise<void> {
  const { libc, errno } = await import("../../native/ffi/libc.ts");
  const { cString, struct } = await import("../../native/ffi/c-data.ts");
  const { ptr } = await import("bun:ffi");
  const { ARCHITECTURE } = await import("../../native/ffi/architecture.ts");
  const { getSystemErrorName } = await import("node:util");
  const resultOf = (result: bigint | number): string =>
    Number(result) === -1 ? getSystemErrorName(-errno()) : "OK";
  const call = (numbers: readonly [number, number], a = 0n, b = 0n, c = 0n, d = 0n): string =>
    resultOf(libc.syscall(BigInt(numbers[ARCHITECTURE === "x64" ? 0 : 1]), a, b, c, d, 0n, 0n));
  const path = BigInt(ptr(cString(CHANGED_FILE)));
  const there = BigInt(ptr(cString(WRITABLE_FILE)));
  const results = {
    "write, sync": await attempt(() => writeFileSync(FORBIDDEN_FILE, "x")),
    "write, async": await attempt(() => promises.writeFile(FORBIDDEN_FILE, "x")),
    "write, Bun.write": await attempt(() => Bun.write(FORBIDDEN_FILE, "x")),
    "make a file": await attempt(() =>
      closeSync(openSync(FORBIDDEN_FILE, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY)),
    ),
    "append to a file": await attempt(() => closeSync(openSync(CHANGED_FILE, "a"))),
    "write to a file that is there": await attempt(() => closeSync(openSync("/dev/zero", "r+"))),
    truncate: await attempt(() => truncateSync(CHANGED_FILE)),
    "open(O_TRUNC)": await attempt(() => closeSync(openSync(CHANGED_FILE, constants.O_TRUNC))),
    chmod: await attempt(() => chmodSync(CHANGED_FILE, 0o666)),
    "connect elsewhere": await attempt(() => connecting(OTHER_PORT)),
    "bind elsewhere": await attempt(() => binding(OTHER_PORT + 1)),
    spawn: await attempt(() => {
      const { error } = spawnSync("/bin/true");
      if (error !== undefined) throw error;
    }),
    "Bun.spawn": await attempt(() => {
      Bun.spawnSync(["/bin/true"]);
    }),
    "kill outside": await attempt(() => process.kill(OTHER_PID, 0)),
    // The one call with a signal for others that the filter leaves: Landlock stops it.
    "signal another's thread": call([200, 130], BigInt(OTHER_PID), 0n),
    "limit another process": call([302, 261], BigInt(OTHER_PID), RLIMIT_CPU, BigInt(ptr(struct()))),
    "read another's environment": await attempt(() => readFileSync(`/proc/${OTHER_PID}/environ`)),
    "setuid(0)": await attempt(() => process.setuid!(0)),
    "a Unix socket": resultOf(libc.socket(1, 1, 0)),
    // Where the proxy may write, a regular file is all that comes into being.
    "a file there": await attempt(() => writeFileSync(`${WRITABLE_FILE}.file`, "x")),
    "a directory there": await attempt(() => mkdirSync(WRITABLE_FILE)),
    "a symlink there": await attempt(() => symlinkSync("/", WRITABLE_FILE)),
    "a link there": await attempt(() => linkSync(CHANGED_FILE, WRITABLE_FILE)),
    "a FIFO there": call([259, 33], -100n, there, 0o010600n),
    "a socket there": await attempt(() => listening(WRITABLE_FILE)),
    "a socket there, Bun.serve": await attempt(() => {
      Bun.serve({ unix: WRITABLE_FILE, fetch: () => new Response("") });
    }),
    // What the sandbox leaves (docs/threat-model.md).
    "read a file of the user's": await attempt(() => readFileSync(CHANGED_FILE)),
    "the upstream's port at another address": await attempt(() => connectingElsewhere(UPSTREAM_PORT)),
    "write to another terminal": await attempt(() => opening(TERMINAL, constants.O_WRONLY)),
    "read from another terminal": await attempt(() => opening(TERMINAL, constants.O_RDONLY)),
    "receive datagrams": await attempt(receiving),
    "a datagram to another port": await attempt(() => sending(OTHER_PORT)),
    "listen on a port of the kernel's choice": call(LISTEN, BigInt(libc.socket(2, 1, 0)), 1n),
    "execute what it wrote": await attempt(() => {
      const fd = openSync(`${WRITABLE_FILE}.file`, "r");
      const result = libc.mmap(0n, 4096n, PROT_READ_EXEC, MAP_PRIVATE, fd, 0n);
      closeSync(fd);
      if (result === -1n) throw new Error(resultOf(result));
    }),
    "a netlink socket": resultOf(libc.socket(16, 3, 0)),
    "a SEQPACKET socket": resultOf(libc.socket(2, 5, 0)),
    "a VSOCK socket": resultOf(libc.socket(40, 1, 0)),
    "type into the terminal": call([16, 29], 1n, TIOCSTI, path),
    "have a descriptor signal": resultOf(libc.fcntl(1, Number(F_SETOWN), BigInt(OTHER_PID))),
    "dumpable again": resultOf(libc.prctl(Number(PR_SET_DUMPABLE), 1n, 0n, 0n, 0n)),
    ...Object.fromEntries(
      Object.entries(FORBIDDEN).map(([name, numbers]) => [
        name,
        name === "fchmodat" ? call(numbers, -100n, path, 0o666n) : call(numbers),
      ]),
    ),
  };
  writeAll(OUTPUT, Buffer.from(`${JSON.stringify(results)}\n`));
}

process.on("SIGUSR2", () => void tryAll());
await import("../../src/main.ts");
