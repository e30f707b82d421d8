// Whether memory would be locked, and where it would go if not: swap, core dumps.

import { SystemCallError } from "../../../native/ffi/libc.ts";
import { readText, readTextIfThere } from "../../../native/files/files.ts";
import { mayLockAnyMemory } from "../../../native/process/credentials.ts";
import { lockAllMemory, SecretPages, unlockAllMemory } from "../../../native/process/memory.ts";
import { lockHeadroom, memoryLockHints, tightLock } from "../../lockdown/memory-lock.ts";
import { type Check, ok, strictly, warning } from "./checks.ts";
import { type Swap, swaps } from "./swap.ts";

/** As many as key.ts asks for. */
const KEY_PAGES_BYTES = 8192;

export function checkMemory(): Check[] {
  const lock = describeLock();
  return [lock, describeKeyPages(), describeSwap(swaps(), lock.status !== "warning"), describeCoreDumps()];
}

/** Locks all memory, as the proxy does, and unlocks it again. */
function describeLock(): Check {
  const tight = tightLock(lockHeadroom());
  const hasCapability = mayLockAnyMemory();
  const limit = field("/proc/self/limits", /^Max locked memory\s+(\S+)/m);
  const needed = 1024 * Number(field("/proc/self/status", /^VmSize:\s+(\d+) kB/m));
  const isLimited = limit !== "unlimited" && !hasCapability;
  const against = `RLIMIT_MEMLOCK is ${limit === "unlimited" ? limit : size(Number(limit))}, ${size(needed)} are needed`;
  const advice = memoryLockHints().join(", ");
  try {
    lockAllMemory();
    unlockAllMemory();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const why = isLimited ? `${against} without CAP_IPC_LOCK` : against;
    return strictly("memory-lock", `no (${error.message}): ${why}`, advice);
  }
  if (!isLimited)
    return ok("memory-lock", hasCapability ? "yes, by CAP_IPC_LOCK" : "yes, RLIMIT_MEMLOCK is unlimited");
  return tight === undefined
    ? ok("memory-lock", `yes: ${against}`)
    : warning("memory-lock", `yes, but ${tight}`, advice);
}

function describeKeyPages(): Check {
  const pages = new SecretPages(KEY_PAGES_BYTES);
  pages.wipe();
  if (pages.missing.length === 0)
    return ok("key-pages", "locked while the key is read, left out of dumps and forks");
  return strictly(
    "key-pages",
    `${pages.missing.join(", ")} failed for pages such as the key is read into`,
    "RLIMIT_MEMLOCK must be 16 KiB at least, and the kernel 4.14",
  );
}

function describeSwap(found: readonly Swap[], isLocked: boolean): Check {
  if (found.length === 0) return ok("swap", "none");
  const text = found.map(({ name, kind }) => `${name} ${KINDS[kind]}`).join(", ");
  if (!found.some(({ kind }) => kind === "plain")) return ok("swap", text);
  if (isLocked) return ok("swap", `${text}; locked memory goes there in hibernation only`);
  return warning("swap", text, "lock memory (above), encrypt the swap device, or swapoff -a");
}

const KINDS = { encrypted: "is encrypted", memory: "is memory (zram)", plain: "is not encrypted" } as const;

/** What the kernel would do with a core of another process: of the proxy there is none. */
function describeCoreDumps(): Check {
  const pattern = readTextIfThere("/proc/sys/kernel/core_pattern")?.trim();
  return ok("core-pattern", `none of the proxy's; core_pattern: ${pattern ?? "not there"}`);
}

function field(path: string, pattern: RegExp): string {
  return pattern.exec(readText(path))?.[1] ?? "unknown";
}

function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`;
}
