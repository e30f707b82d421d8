// On what it was measured.

import { availableParallelism, cpus, release, totalmem } from "node:os";

export type Machine = { processor: string; processors: number; memoryGB: number; kernel: string };

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    processors: availableParallelism(),
    memoryGB: Math.round(totalmem() / 1e9),
    kernel: release(),
  };
}
