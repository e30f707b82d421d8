// An attacker in another process, mostly another user's: it tries every way into a process that the kernel can deny, and
// prints the result of each as JSON: "OK" or the reason. Usage: bun attacker.ts PID ADDRESS

import { ptr } from "bun:ffi";
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { getSystemErrorName } from "node:util";

import { errno, libc } from "../../native/ffi/libc.ts";

const x64 = process.arch === "x64";
const SYS = {
  ptrace: x64 ? 101 : 117,
  process_vm_readv: x64 ? 310 : 270,
  kcmp: x64 ? 312 : 272,
  wait4: x64 ? 61 : 260,
  pidfd_open: 434,
  pidfd_getfd: 438,
};
const PTRACE_ATTACH = 16;
const PTRACE_SEIZE = 0x4206;
const PTRACE_DETACH = 17;

/** Files of /proc/PID that show memory, environment, open files or the like (proc(5)). */
const FILES = [
  "auxv",
  "environ",
  "io",
  "maps",
  "mem",
  "numa_maps",
  "pagemap",
  "smaps",
  "smaps_rollup",
  "stack",
  "syscall",
  "personality",
];
const LINKS = ["cwd", "exe", "root", "ns/mnt"];
const DIRECTORIES = ["fd", "fdinfo", "map_files"];

const pid = Number(process.argv[2]);
const address = Number(process.argv[3] ?? 0);
const results: Record<string, string> = {};

for (const file of FILES) results[file] = attempt(() => readFile(`/proc/${pid}/${file}`));
for (const link of LINKS) results[link] = attempt(() => readlinkSync(`/proc/${pid}/${link}`));
for (const directory of DIRECTORIES)
  results[directory] = attempt(() => readdirSync(`/proc/${pid}/${directory}`));
results["mem for writing"] = attempt(() => closeSync(openSync(`/proc/${pid}/mem`, "r+")));

results["ptrace(PTRACE_ATTACH)"] = call(SYS.ptrace, PTRACE_ATTACH, pid);
if (results["ptrace(PTRACE_ATTACH)"] === "OK") {
  call(SYS.wait4, pid, 0, 0, 0);
  call(SYS.ptrace, PTRACE_DETACH, pid);
}
results["ptrace(PTRACE_SEIZE)"] = call(SYS.ptrace, PTRACE_SEIZE, pid);
results["kcmp"] = call(SYS.kcmp, pid, process.pid, 0, 0, 0);
results["process_vm_readv"] = readRemote();
const pidfd = Number(libc.syscall(BigInt(SYS.pidfd_open), BigInt(pid), 0n, 0n, 0n, 0n, 0n));
results["pidfd_getfd"] = call(SYS.pidfd_getfd, pidfd, 0, 0);

console.log(JSON.stringify(results));
// A tracer that exits detaches from its tracee.
process.exit(0);

function attempt(door: () => unknown): string {
  try {
    door();
    return "OK";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function readFile(path: string): void {
  const fd = openSync(path, "r");
  try {
    // Address 0 is not mapped, so mem is opened and not read.
    if (!path.endsWith("/mem")) readSync(fd, Buffer.alloc(64), 0, 64, null);
  } finally {
    closeSync(fd);
  }
}

function call(number: number, ...args: number[]): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = args;
  const result = libc.syscall(BigInt(number), BigInt(a), BigInt(b), BigInt(c), BigInt(d), BigInt(e), 0n);
  return result === -1n ? getSystemErrorName(-errno()) : "OK";
}

/** Reads with process_vm_readv(2): an iovec for each side and the bytes, in one block too large for the engine to move. */
function readRemote(): string {
  const block = new BigUint64Array(1024);
  const base = ptr(block);
  block.set([BigInt(base) + 64n, 16n, BigInt(address), 16n]);
  return call(SYS.process_vm_readv, pid, base, 1, base + 16, 1);
}
