// What must hold before the key is read. Each step looks at the system's answer, not at its own call; each has its exit code.

import { SystemCallError } from "../native/libc.ts";
import { lockAllMemory } from "../native/memory.ts";
import {
  forbidInspection,
  forbidNewPrivileges,
  limitCoreDumps,
  nameProcess,
  raiseFileLimit,
  tracer,
} from "../native/process.ts";
import { EXIT, UserError } from "./errors.ts";

/** What holds, in words for the protections line, and what does not. */
export type Protections = { held: string[]; warnings: string[]; hints: string[] };

/** Closes the process to others. Throws UserError where something that must hold does not. */
export function harden({ requireMlock }: { requireMlock: boolean }): Protections {
  // First, because until here another process of the same user could open /proc/PID/mem.
  if (!forbidInspection()) throw new UserError("the process cannot be made undumpable", EXIT.dumpable);
  refuseTracer();
  nameProcess("responses-proxy");
  if (!forbidNewPrivileges()) throw new UserError("no_new_privs cannot be set", EXIT.newPrivileges);
  const core = limitCoreDumps();
  if (core.soft > 1n || core.hard > 1n) throw new UserError("core dumps cannot be forbidden", EXIT.coreDumps);
  const files = raiseFileLimit();
  if (files.soft !== files.hard)
    throw new UserError("the limit on open files cannot be raised", EXIT.fileLimit);
  const held = ["not dumpable", "not traced", "no core dumps", "no new privileges"];
  return lockMemory(requireMlock, held);
}

function refuseTracer(): void {
  const pid = tracer();
  if (pid === 0) return;
  throw new UserError(`process ${pid} is tracing this one and could read the key`, EXIT.traced, [
    "start it without a debugger and without strace",
  ]);
}

function lockMemory(requireMlock: boolean, held: string[]): Protections {
  try {
    lockAllMemory();
    return { held: [...held, "memory locked"], warnings: [], hints: [] };
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const message = `memory is not locked (${error.message}): copies of the key may be written to the swap device`;
    const hints = ["give it CAP_IPC_LOCK (root has it), or a RLIMIT_MEMLOCK of unlimited"];
    if (requireMlock) throw new UserError(message, EXIT.memoryLock, hints);
    return { held, warnings: [message], hints };
  }
}
