// Executes a command on a kernel that looks like another one. Requires root. Usage: bun kernel.ts JSON COMMAND…
//
//   '{"landlock_create_ruleset":"ENOSYS"}'   the call fails
//   '{"prctl 0=4":"OK"}'                     the call does nothing, if its argument 0 is 4
//   '{"execveat":"once EACCES"}'             the call fails the first time
//   '{"execve":"4th EACCES"}'                the call fails the fourth time
//   '{"execveat":"once /tmp/go"}'            the call waits the first time, until the file exists
//   '{"landlockAbi":2}'                      Landlock says that it is of this version
//
// A seccomp filter makes the calls fail. For the last three it asks a second process, which lives as long as the first.
// Everything else is the real kernel's: the version of Landlock changes only what the command asks it for.

import { existsSync } from "node:fs";
import { constants } from "node:os";

import { check, libc, ptr, SystemCallError } from "../../native/ffi/libc.ts";
import { type SyscallName, syscallNumber } from "../../native/ffi/syscalls.ts";
import { makePipe, readInto } from "../../native/files/descriptors.ts";
import { writeAll } from "../../native/files/files.ts";
import { openProcess } from "../../native/process/others.ts";
import { execute } from "../../native/process/process.ts";

const SET_MODE_FILTER = 1n;
const NEW_LISTENER = 1n << 3n;
const ALLOW = 0x7fff0000;
const USER_NOTIF = 0x7fc00000;
const ERRNO = 0x00050000;
const NOTIF_RECV = 0xc0502100n;
const NOTIF_SEND = 0xc0182101n;
const IOCTL = process.arch === "arm64" ? 29n : 16n;
/** Calls that the program makes only through libc wrappers. */
const OTHERS: Record<string, number> = {
  execve: process.arch === "arm64" ? 221 : 59,
  mlockall: process.arch === "arm64" ? 230 : 151,
  setresuid: process.arch === "arm64" ? 147 : 117,
};
/** Out of the way of the descriptors that the runtime opens. */
const LISTENER = 200;
const READY = 3;
const PIDFD_GETFD = 438n;
const POLLIN = 1;
const CONTINUE = 1;

const [spec = "", ...command] = process.argv.slice(2);
const ERRORS = constants.errno as Record<string, number>;
if (spec === "answer") await answer(Number(command[0]), Number(command[1]), JSON.parse(command[2]!));
else begin(JSON.parse(spec));

function begin({ landlockAbi, ...failing }: { landlockAbi?: number } & Record<string, string>): never {
  type Instruction = [code: number, jumpTrue: number, jumpFalse: number, k: number];
  const load = (offset: number): Instruction => [0x20, 0, 0, offset];
  const unless = (value: number, skip: number): Instruction => [0x15, 0, skip, value];
  const result = (value: number): Instruction => [0x06, 0, 0, value];
  const number = (name: string): number => OTHERS[name] ?? syscallNumber(name as SyscallName)!;
  // "4th EACCES", "once /tmp/go"
  const turns = Object.entries(failing)
    .filter(([, error]) => error.includes(" "))
    .map(([call, error]): Turn => {
      const [turn, once] = error.split(" ") as [string, string];
      return { number: number(call), once, turn: parseInt(turn) || 1 };
    });
  const actionOf = (error: string): number =>
    error.includes(" ") ? USER_NOTIF : ERRNO | (error === "OK" ? 0 : ERRORS[error]!);
  const failures = Object.entries(failing).flatMap(([call, error]) => {
    const [, name, index, value] = /^(\w+)(?: (\d)=(\d+))?$/.exec(call)!;
    if (index === undefined) return [unless(number(name!), 1), result(actionOf(error))];
    const argument = [
      load(16 + 8 * Number(index)),
      unless(Number(value), 1),
      result(actionOf(error)),
      load(0),
    ];
    return [unless(number(name!), argument.length), ...argument];
  });
  // The call that asks for the version has 1 as its third argument.
  const version =
    landlockAbi === undefined
      ? []
      : [unless(number("landlock_create_ruleset"), 3), load(32), unless(1, 1), result(USER_NOTIF)];
  const isAsked = landlockAbi !== undefined || turns.length > 0;
  const ready = makePipe();
  if (isAsked) {
    // Before the filter, which its own start may not pass.
    const args = [String(process.pid), String(landlockAbi ?? 0), JSON.stringify(turns)];
    Bun.spawn([process.execPath, import.meta.path, "answer", ...args], {
      stdio: ["ignore", "ignore", "ignore", ready.writer],
    });
  }
  const listener = install([load(0), ...failures, ...version, result(ALLOW)], isAsked);
  if (isAsked) {
    check("dup2", libc.dup2(listener, LISTENER));
    readInto(ready.reader, Buffer.alloc(1024));
    check("close", libc.close(LISTENER));
  }
  const variables = Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
  return execute(Bun.which(command[0]!) ?? command[0]!, command, variables);
}

/** Installs the filter. Returns the listener's descriptor if `listens` is set. */
function install(
  instructions: [code: number, jumpTrue: number, jumpFalse: number, k: number][],
  listens: boolean,
): number {
  const program = new Uint32Array(1024);
  for (const [index, [code, jumpTrue, jumpFalse, k]] of instructions.entries())
    program.set([code | (jumpTrue << 16) | (jumpFalse << 24), k], index * 2);
  const header = Buffer.alloc(1024);
  header.writeUInt16LE(instructions.length, 0);
  header.writeBigUInt64LE(BigInt(ptr(program)), 8);
  const number = BigInt(syscallNumber("seccomp")!);
  const flags = listens ? NEW_LISTENER : 0n;
  return check("seccomp", libc.syscall(number, SET_MODE_FILTER, flags, BigInt(ptr(header)), 0n, 0n, 0n));
}

/** Copies the listener's descriptor from the parent, once it has it (pidfd_getfd(2)), and says so. */
async function takeListener(parent: number): Promise<void> {
  const pidfd = openProcess(parent);
  const take = (): bigint => libc.syscall(PIDFD_GETFD, BigInt(pidfd), BigInt(LISTENER), 0n, 0n, 0n, 0n);
  let fd = take();
  while (fd < 0n && process.ppid === parent) {
    await Bun.sleep(1);
    fd = take();
  }
  check("dup2", libc.dup2(Number(fd), LISTENER));
  writeAll(READY, Buffer.from("!"));
}

/** What happens to one call of a kind: the error `once` at that `turn`; or, if `once` is a path, each waits until that file exists. */
type Turn = { number: number; once: string; turn: number };

/** Answers the filter's notifications until the filtered process has exited: as the `turns` say, or with `value`. */
async function answer(parent: number, value: number, turns: readonly Turn[]): Promise<void> {
  await takeListener(parent);
  const calls = new Map<number, number>();
  const poll = Buffer.alloc(1024);
  poll.writeInt32LE(LISTENER, 0);
  poll.writeInt16LE(POLLIN, 4);
  const ioctl = (request: bigint, argument: Buffer): void => {
    const result = libc.syscall(IOCTL, BigInt(LISTENER), request, BigInt(ptr(argument)), 0n, 0n, 0n);
    check("ioctl", result);
  };
  while (process.ppid === parent) {
    if (libc.poll(poll, 1n, 50) <= 0) continue;
    const question = Buffer.alloc(1024);
    const reply = Buffer.alloc(1024);
    try {
      ioctl(NOTIF_RECV, question);
      // struct seccomp_notif { __u64 id; __u32 pid, flags; struct seccomp_data { int nr; … } }
      const number = question.readInt32LE(16);
      const rule = turns.find((one) => one.number === number);
      const count = (calls.get(number) ?? 0) + 1;
      calls.set(number, count);
      while (rule?.once.startsWith("/") && process.ppid === parent && !existsSync(rule.once))
        await Bun.sleep(2);
      // struct seccomp_notif_resp { __u64 id; __s64 val; __s32 error; __u32 flags; }
      question.copy(reply, 0, 0, 8);
      const error = ERRORS[rule?.once ?? ""] ?? 0;
      if (rule === undefined) reply.writeBigInt64LE(BigInt(value), 8);
      else if (count === rule.turn && error !== 0) reply.writeInt32LE(-error, 16);
      else reply.writeUInt32LE(CONTINUE, 20);
      ioctl(NOTIF_SEND, reply);
    } catch (thrown) {
      // The process that made the call has exited.
      if (!(thrown instanceof SystemCallError)) throw thrown;
    }
  }
}
