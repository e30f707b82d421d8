// The user and the capabilities of the process: how it drops root for good (credentials(7), capabilities(7)).

import { check, libc } from "../ffi/libc.ts";
import { readTextIfThere } from "../files/files.ts";
import { isInitialNamespace } from "./namespace.ts";
import { fieldOf, ownStatus, type Status } from "./proc-status.ts";

const CAP_IPC_LOCK = 14;
const IPC_LOCK_BIT = 1 << CAP_IPC_LOCK;
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2n;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

export type User = Readonly<{ uid: number; gid: number }>;

/**
 * Becomes that user. Drops all supplementary groups, sets the real, effective and saved IDs, and drops
 * every capability but CAP_IPC_LOCK. The next execve keeps that one: without it, Bun aborts at its next
 * mmap once memory is locked. Requires root. Throws SystemCallError, and Error if the process can still
 * become root again.
 */
export function becomeUser({ uid, gid }: User): void {
  for (let capability = 0; libc.prctl(PR_CAPBSET_READ, BigInt(capability), 0n, 0n, 0n) >= 0; capability++) {
    if (capability === CAP_IPC_LOCK) continue;
    check("prctl", libc.prctl(PR_CAPBSET_DROP, BigInt(capability), 0n, 0n, 0n));
  }
  check("prctl", libc.prctl(PR_SET_KEEPCAPS, 1n, 0n, 0n, 0n));
  check("setgroups", libc.setgroups(0n, null));
  check("setresgid", libc.setresgid(gid, gid, gid));
  check("setresuid", libc.setresuid(uid, uid, uid));
  keepMemoryLockCapability();
  if (libc.setresuid(0, 0, 0) === 0) throw new Error("root can be regained");
}

/**
 * Makes CAP_IPC_LOCK ambient, so that the next execve keeps it, and drops every other capability. Does not
 * add it if the process does not have it. Throws SystemCallError.
 *
 * A program whose file has the capability gets it again in spite of no_new_privs, because the process does
 * not gain it (Linux 6.18). The ambient capability is for other files.
 */
export function keepMemoryLockCapability(): void {
  const held = permittedCapabilities() & BigInt(IPC_LOCK_BIT) ? IPC_LOCK_BIT : 0;
  // struct __user_cap_header_struct { __u32 version; int pid; }
  // struct __user_cap_data_struct { __u32 effective, permitted, inheritable; }[2]
  const header = new Uint32Array(256);
  header[0] = LINUX_CAPABILITY_VERSION_3;
  const data = new Uint32Array(256);
  data.set([held, held, held]);
  check("capset", libc.capset(header, data));
  if (held !== 0)
    check("prctl", libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, BigInt(CAP_IPC_LOCK), 0n, 0n));
}

/**
 * Returns the user with this name or number, from /etc/passwd (passwd(5)). For a number in neither
 * /etc/passwd nor /etc/group, returns that number as user and group. Returns undefined otherwise. Throws
 * SystemCallError.
 */
export function findUser(nameOrUid: string): User | undefined {
  const entry = readEntries("/etc/passwd").find(([name, , uid]) => name === nameOrUid || uid === nameOrUid);
  if (entry !== undefined) return { uid: Number(entry[2]), gid: Number(entry[3]) };
  if (!/^\d{1,9}$/.test(nameOrUid)) return undefined;
  const isGroup = readEntries("/etc/group").some(([, , gid]) => gid === String(Number(nameOrUid)));
  return isGroup ? undefined : { uid: Number(nameOrUid), gid: Number(nameOrUid) };
}

/**
 * Returns the number of the group with this name or number, from /etc/group (group(5)); a number needs no entry. Returns undefined for an
 * unknown name. Throws SystemCallError.
 */
export function findGroup(nameOrGid: string): number | undefined {
  const entry = readEntries("/etc/group").find(([name]) => name === nameOrGid);
  if (entry !== undefined) return Number(entry[2]);
  return /^\d{1,9}$/.test(nameOrGid) ? Number(nameOrGid) : undefined;
}

/** Returns the fields of each line; no lines if there is no such file. Throws SystemCallError. */
export function readEntries(path: "/etc/passwd" | "/etc/group"): string[][] {
  const lines = (readTextIfThere(path) ?? "").split("\n");
  return lines.map((line) => line.split(":"));
}

/** Returns the real, effective, saved and filesystem user ID of the process, as the kernel reports them. */
export function userIds(status: Status = ownStatus()): number[] {
  return fieldOf(status, "Uid").split("\t").map(Number);
}

/**
 * Returns whether the process has CAP_IPC_LOCK, so that RLIMIT_MEMLOCK does not limit it. That of another user namespace than the initial one
 * lifts no limit (mlock(2) asks for the initial one's).
 */
export function mayLockAnyMemory(status: Status = ownStatus()): boolean {
  return (permittedCapabilities(status) & BigInt(IPC_LOCK_BIT)) !== 0n && isInitialNamespace();
}

/**
 * Returns whether a file can give CAP_IPC_LOCK to the process. If it is not in the bounding set, as in a container, the kernel does not even execute
 * a file that has it (EPERM; capabilities(7), "Safety checking for capability-dumb binaries").
 */
export function mayGainMemoryLockCapability(status: Status = ownStatus()): boolean {
  return (BigInt(`0x${fieldOf(status, "CapBnd")}`) & BigInt(IPC_LOCK_BIT)) !== 0n;
}

/** Returns the permitted capabilities of the process, as a bit set. */
function permittedCapabilities(status: Status = ownStatus()): bigint {
  return BigInt(`0x${fieldOf(status, "CapPrm")}`);
}
