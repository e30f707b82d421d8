// The benchmark's command line: which blocks are measured, and how thoroughly.

import { parseArgs } from "node:util";

export type Settings = {
  /** Ids of the blocks to measure; empty for all. */
  only: string[];
  /** How often each figure is taken; figures are medians over them. */
  rounds: number;
  /** How long each run of the load generator takes. */
  seconds: number;
};

const THOROUGH = { rounds: 3, seconds: 1.5 };
/** For a look while working on something: one round is no median. */
const QUICK = { rounds: 1, seconds: 1 };

/** Reads `--only BLOCK[,BLOCK]` and `--quick`. Throws for anything else. */
export function readArguments(raw: string[], blocks: readonly string[]): Settings {
  const { values } = parseArgs({
    args: raw,
    options: { only: { type: "string", multiple: true }, quick: { type: "boolean", default: false } },
  });
  const only = (values.only ?? []).flatMap((names) => names.split(","));
  const unknown = only.find((name) => !blocks.includes(name));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there are ${blocks.join(", ")}`);
  return { only, ...(values.quick ? QUICK : THOROUGH) };
}
