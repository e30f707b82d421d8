// Locks all memory of the process, and says what would let it if it may not.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { readLink } from "../../native/files/files.ts";
import { mayGainMemoryLockCapability, mayLockAnyMemory } from "../../native/process/credentials.ts";
import { runsFromCopy } from "../../native/process/image.ts";
import { lockAllMemory } from "../../native/process/memory.ts";
import { isInitialNamespace } from "../../native/process/namespace.ts";
import { fieldOf, type Status } from "../../native/process/proc-status.ts";
import { raiseMemoryLockLimit, UNLIMITED } from "../../native/process/process.ts";
import type { Protection } from "./protections.ts";
import { isCompiled } from "./reexec.ts";

/** Locks all memory, as far as the process may (mlockall(2)). */
export function lockMemory(status: Status): Protection {
  const id = "memory-lock";
  const headroom = lockHeadroom(status);
  try {
    lockAllMemory();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const message = `memory is not locked (${error.message}): copies of the key may be written to the swap device`;
    return { id, gap: { message, hints: hints(status) } };
  }
  const held = "memory locked";
  const tight = tightLimit(headroom);
  if (tight === undefined) return { id, held };
  const message = `memory is locked, but ${tight}`;
  return { id, held, gap: { message, hints: hints(status), isTolerated: true } };
}

/** How many more bytes can be mapped once all memory is locked; Infinity if nothing limits it. Raises the soft limit to the hard one. */
function lockHeadroom(status: Status): number {
  const { soft } = raiseMemoryLockLimit();
  if (soft === UNLIMITED || mayLockAnyMemory(status)) return Infinity;
  return Number(soft) - 1024 * parseInt(fieldOf(status, "VmSize"));
}

/** Beyond the limit the next mmap(2) fails, which ends Bun. Under load the address space grows by 1 to 66 MB (docs/bun.md). */
const ENOUGH_HEADROOM = 256 * 2 ** 20;

/** What is wrong with a limit that is enough for now; undefined if nothing is. `headroom` is in bytes. */
export function tightLimit(headroom: number): string | undefined {
  if (headroom >= ENOUGH_HEADROOM) return undefined;
  const left = Math.max(0, Math.round(headroom / 2 ** 20));
  return `RLIMIT_MEMLOCK leaves ${left} MiB to grow, and growing past it would end the proxy`;
}

/** What a person with the rights for it can do. */
function hints(status: Status): string[] {
  const unlimited =
    "have it started with RLIMIT_MEMLOCK unlimited: docker run --ulimit memlock=-1, LimitMEMLOCK=infinity";
  // No capability of another namespace lifts the limit.
  if (!isInitialNamespace()) return [unlimited];
  if (process.geteuid!() === 0)
    return ["give it CAP_IPC_LOCK, as with docker run --cap-add=IPC_LOCK", "or RLIMIT_MEMLOCK unlimited"];
  if (!mayGainMemoryLockCapability(status)) return [unlimited, "or as root, with CAP_IPC_LOCK and --user"];
  return [
    `as root, give its file the capability: setcap cap_ipc_lock=ep ${ownFile()}`,
    "or have root start it, with --user, or with RLIMIT_MEMLOCK unlimited",
  ];
}

/** The program's path, if it is known: a copy in memory has none, and from source it would be Bun's. */
function ownFile(): string {
  return runsFromCopy() || !isCompiled() ? "FILE" : readLink("/proc/self/exe");
}
