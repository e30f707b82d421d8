// Whether all memory of the process is locked, and what would have it so.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { readLink } from "../../native/files/files.ts";
import { mayLockAnyMemory } from "../../native/process/credentials.ts";
import { isCopy } from "../../native/process/image.ts";
import { lockAllMemory } from "../../native/process/memory.ts";
import { fieldOf, ownStatus, type Status } from "../../native/process/proc-status.ts";
import { raiseMemoryLockLimit, UNLIMITED } from "../../native/process/process.ts";
import { EXIT, type ExitCode } from "../base/errors.ts";

/** What does not hold: what that means, what would mend it, and the exit code if --strict or --require-mlock wants it all the same. */
export type Missing = Readonly<{ message: string; hints: readonly string[]; exitCode: ExitCode | undefined }>;

/** Locks all memory, as far as the process may. */
export function lockMemory(status: Status): { holds: boolean; missing: Missing | undefined } {
  const headroom = lockHeadroom(status);
  try {
    lockAllMemory();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const message = `memory is not locked (${error.message}): copies of the key may be written to the swap device`;
    return { holds: false, missing: { message, hints: memoryLockHints(), exitCode: EXIT.memoryLock } };
  }
  const tight = tightLock(headroom);
  if (tight === undefined) return { holds: true, missing: undefined };
  const message = `memory is locked, but ${tight}`;
  return { holds: true, missing: { message, hints: memoryLockHints(), exitCode: undefined } };
}

/** How many bytes more may be mapped once all memory is locked; Infinity if nothing limits it. Raises the soft limit to the hard one. */
export function lockHeadroom(status: Status = ownStatus()): number {
  const { soft } = raiseMemoryLockLimit();
  if (soft === UNLIMITED || mayLockAnyMemory(status)) return Infinity;
  return Number(soft) - 1024 * parseInt(fieldOf(status, "VmSize"));
}

/** Beyond the limit the next mmap fails, which ends Bun. Under load the address space grows by 1 to 66 MB (Bun 1.4.5). */
const ENOUGH_HEADROOM = 256 * 2 ** 20;

/** What is wrong with a limit that is enough for now; undefined if nothing is. */
export function tightLock(headroom: number): string | undefined {
  if (headroom >= ENOUGH_HEADROOM) return undefined;
  const left = Math.max(0, Math.round(headroom / 2 ** 20));
  return `RLIMIT_MEMLOCK leaves ${left} MiB to grow, and growing past it would end the proxy`;
}

/** What whoever has the rights for it can do. */
export function memoryLockHints(): string[] {
  if (process.geteuid!() === 0)
    return ["give it CAP_IPC_LOCK, as with docker run --cap-add=IPC_LOCK", "or RLIMIT_MEMLOCK unlimited"];
  return [
    `as root, give its file the capability: setcap cap_ipc_lock=ep ${ownFile()}`,
    "or have root start it, with --user, or with RLIMIT_MEMLOCK unlimited",
  ];
}

/** The program's path, if it is known: a copy in memory has none, and from source it would be Bun's. */
function ownFile(): string {
  return isCopy() || !Bun.main.startsWith("/$bunfs/") ? "FILE" : readLink("/proc/self/exe");
}
