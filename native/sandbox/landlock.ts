// Restrictions on files, TCP ports, signals and abstract sockets, as far as the kernel has them
// (landlock(7)).

import { struct } from "../ffi/c-data.ts";
import { check, EBADFD, ENOENT, errno, libc, ptr, SystemCallError } from "../ffi/libc.ts";
import { type SyscallName, syscallNumber } from "../ffi/syscalls.ts";
import { AT_FDCWD, close, O_PATH, openUnless } from "../files/files.ts";

/** What stays allowed. */
type Exceptions = {
  /** Directories in which the process may create, write, rename and remove files. */
  writableDirectories: readonly string[];
  /** Those of them in which it may also create Unix sockets. */
  socketDirectories: readonly string[];
  /** Files that it may write. */
  writableFiles: readonly string[];
  /** Programs that it may execute, by path; /proc/self/exe is one. */
  executables: readonly string[];
  /** TCP ports that it may connect to. */
  connectPorts: readonly number[];
  /** TCP ports that it may bind; 0 means any free port that the kernel chooses. NOT restricted: listen(2) without bind(2) takes such a port, too. */
  bindPorts: readonly number[];
};

const EXECUTE = 1n << 0n;
const WRITE_FILE = 1n << 1n;
const REMOVE_FILE = 1n << 5n;
const MAKE_REG = 1n << 8n;
const MAKE_SOCK = 1n << 9n;
const TRUNCATE = 1n << 14n;
/** All file rights except reading files and listing directories, by the first ABI that has them. */
const FILE_RIGHTS: readonly [abi: number, rights: bigint][] = [
  [1, EXECUTE | WRITE_FILE | (0b1_1111_1111n << 4n)], // REMOVE_DIR … MAKE_SYM
  [2, 1n << 13n], // REFER: renaming from one directory to another
  [3, TRUNCATE],
  [5, 1n << 15n], // IOCTL_DEV
];
const NET_ABI = 4;
const BIND_TCP = 1n << 0n;
const CONNECT_TCP = 1n << 1n;
const SCOPE_ABI = 6;
const SCOPE_ABSTRACT_UNIX_SOCKET = 1n << 0n;
const SCOPE_SIGNAL = 1n << 1n;

const CREATE_RULESET_VERSION = 1n;
const RULE_PATH_BENEATH = 1n;
const RULE_NET_PORT = 2n;

/**
 * Returns the Landlock ABI of the kernel, or 0 and the error. ENOSYS: the kernel has no Landlock.
 * EOPNOTSUPP: it was not enabled at boot. Any other, such as EPERM: a filter, for example a container's,
 * forbids the call.
 */
export function probeLandlock(): { abi: number; refusal: SystemCallError | undefined } {
  const abi = Number(call("landlock_create_ruleset", 0n, 0n, CREATE_RULESET_VERSION));
  if (abi > 0) return { abi, refusal: undefined };
  return { abi: 0, refusal: new SystemCallError("landlock_create_ruleset", errno()) };
}

/** Returns the Landlock ABI of the kernel, 0 if there is none. */
export function landlockAbi(): number {
  return probeLandlock().abi;
}

/**
 * Restricts the calling thread, and every program that it executes, for good. Other threads stay
 * unrestricted, so call this before an execve, which ends them, or while there is none. Requires no_new_privs. Returns the ABI.
 * Throws SystemCallError.
 */
export function restrict(exceptions: Exceptions): number {
  const { abi, refusal } = probeLandlock();
  if (refusal !== undefined) throw refusal;
  const handled = FILE_RIGHTS.filter(([since]) => since <= abi).reduce((all, [, rights]) => all | rights, 0n);
  const ruleset = createRuleset(abi, handled);
  const allowPath = (path: string, rights: bigint): void => addPath(ruleset, path, rights & handled);
  for (const path of exceptions.executables) allowPath(path, EXECUTE);
  for (const path of exceptions.writableFiles) allowPath(path, WRITE_FILE | TRUNCATE);
  for (const path of exceptions.writableDirectories)
    allowPath(path, WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE);
  for (const path of exceptions.socketDirectories) allowPath(path, MAKE_SOCK);
  if (abi >= NET_ABI) {
    for (const port of exceptions.connectPorts) addPort(ruleset, port, CONNECT_TCP);
    for (const port of exceptions.bindPorts) addPort(ruleset, port, BIND_TCP);
  }
  check("landlock_restrict_self", call("landlock_restrict_self", BigInt(ruleset), 0n, 0n));
  close(ruleset);
  return abi;
}

/** struct landlock_ruleset_attr { __u64 handled_access_fs, handled_access_net, scoped; }, cut to the ABI */
function createRuleset(abi: number, handled: bigint): number {
  const attributes = new BigUint64Array(128);
  attributes[0] = handled;
  attributes[1] = abi >= NET_ABI ? BIND_TCP | CONNECT_TCP : 0n;
  attributes[2] = abi >= SCOPE_ABI ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0n;
  const size = abi >= SCOPE_ABI ? 24n : abi >= NET_ABI ? 16n : 8n;
  return check("landlock_create_ruleset", call("landlock_create_ruleset", BigInt(ptr(attributes)), size, 0n));
}

/** struct landlock_path_beneath_attr { __u64 allowed_access; __s32 parent_fd; }, packed */
function addPath(ruleset: number, path: string, rights: bigint): void {
  const fd = openUnless(ENOENT, AT_FDCWD, path, O_PATH);
  if (fd === undefined) return;
  const rule = struct();
  rule.writeBigUInt64LE(rights, 0);
  rule.writeInt32LE(fd, 8);
  const result = call("landlock_add_rule", BigInt(ruleset), RULE_PATH_BENEATH, BigInt(ptr(rule)));
  // A memory file is on no mounted file system: it takes no rule and needs none (landlock_add_rule(2)).
  const isMemoryFile = result === -1n && errno() === EBADFD;
  close(fd);
  if (!isMemoryFile) check("landlock_add_rule", result);
}

/** struct landlock_net_port_attr { __u64 allowed_access; __u64 port; } */
function addPort(ruleset: number, port: number, rights: bigint): void {
  const rule = new BigUint64Array(128);
  rule.set([rights, BigInt(port)]);
  check("landlock_add_rule", call("landlock_add_rule", BigInt(ruleset), RULE_NET_PORT, BigInt(ptr(rule))));
}

function call(name: SyscallName, a: bigint, b: bigint, c: bigint): bigint {
  return libc.syscall(BigInt(syscallNumber(name)!), a, b, c, 0n, 0n, 0n);
}
