// On what it was measured.

import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

export type Machine = {
  processor: string;
  processors: number;
  memoryGB: number;
  kernel: string;
  /** Processes that wanted to run, a mean over the last minute: what else the machine had to do, where it is taken before the start. */
  load: number;
};

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    processors: availableParallelism(),
    memoryGB: Math.round(totalmem() / 1e9),
    kernel: release(),
    load: loadavg()[0]!,
  };
}
