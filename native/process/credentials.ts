// Who the process is: another user for good, with at most one capability (credentials(7), capabilities(7)).

import { check, libc } from "../ffi/libc.ts";
import { readTextIfThere } from "../files/files.ts";
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
 * Becomes that user: no supplementary groups, real, effective and saved IDs all set, every capability dropped but CAP_IPC_LOCK,
 * which stays through the next execve as an ambient one: without it, memory locked once aborts Bun at its next mmap.
 * Takes root. Throws SystemCallError, and Error where the way back is still open.
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
  if (libc.setresuid(0, 0, 0) === 0) throw new Error("root could be had back");
}

/**
 * Hands CAP_IPC_LOCK on to the next execve, as an ambient capability, and drops every other. Where the process does not have it,
 * there is nothing to hand on. (A file that has it as its own capability gives it again in spite of no_new_privs, because it is
 * no gain to a process that holds it: Linux 6.18. The ambient one is for the files that do not.)
 */
export function keepMemoryLockCapability(): void {
  const held = permittedCapabilities() & BigInt(IPC_LOCK_BIT) ? IPC_LOCK_BIT : 0;
  // struct __user_cap_header_struct { __u32 version; int pid; } and __user_cap_data_struct { __u32 effective, permitted, inheritable; }[2]
  const header = new Uint32Array(256);
  header[0] = LINUX_CAPABILITY_VERSION_3;
  const data = new Uint32Array(256);
  data.set([held, held, held]);
  check("capset", libc.capset(header, data));
  if (held !== 0)
    check("prctl", libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, BigInt(CAP_IPC_LOCK), 0n, 0n));
}

/**
 * The user with this name or number, from /etc/passwd. A number that no user has is fine, with itself as the group, if no group has
 * it either. Undefined for anything else.
 */
export function findUser(nameOrUid: string): User | undefined {
  const entry = entriesOf("/etc/passwd").find(([name, , uid]) => name === nameOrUid || uid === nameOrUid);
  if (entry !== undefined) return { uid: Number(entry[2]), gid: Number(entry[3]) };
  if (!/^\d{1,9}$/.test(nameOrUid)) return undefined;
  const isGroup = entriesOf("/etc/group").some(([, , gid]) => gid === String(Number(nameOrUid)));
  return isGroup ? undefined : { uid: Number(nameOrUid), gid: Number(nameOrUid) };
}

/** The lines of /etc/passwd or /etc/group, by fields; none if there is no such file. Throws SystemCallError. */
export function entriesOf(path: "/etc/passwd" | "/etc/group"): string[][] {
  const lines = (readTextIfThere(path) ?? "").split("\n");
  return lines.map((line) => line.split(":"));
}

/** The four user IDs of the process (real, effective, saved, filesystem), from the kernel. */
export function userIds(status: Status = ownStatus()): number[] {
  return fieldOf(status, "Uid").split("\t").map(Number);
}

/** Whether the process may lock memory whatever RLIMIT_MEMLOCK says. */
export function mayLockAnyMemory(status: Status = ownStatus()): boolean {
  return (permittedCapabilities(status) & BigInt(IPC_LOCK_BIT)) !== 0n;
}

/** The capabilities the process may use, as a bit set. */
export function permittedCapabilities(status: Status = ownStatus()): bigint {
  return BigInt(`0x${fieldOf(status, "CapPrm")}`);
}
