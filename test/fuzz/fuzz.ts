// Runs many cases on several proxies at once and collects the failures.

import { resolve } from "node:path";

import { bytesOf, type Case, type Kind, makeCase, toText } from "./cases.ts";
import { show } from "./http.ts";
import { Lane } from "./lane.ts";

const BINARY = resolve(import.meta.dir, "../../dist/responses-api-proxy");

type Failure = { seed: number; number: number; case: Case; fault: string };

type Summary = {
  cases: number;
  reached: number;
  refused: number;
  seconds: number;
  failures: Failure[];
};

type Fuzzing = {
  kinds: readonly Kind[];
  cases: number;
  seed: number;
  command?: readonly string[];
  /** The number of failures after which the run stops. */
  patience?: number;
  /** The flags of each proxy; all proxies run at the same time. */
  lanes?: readonly (readonly string[])[];
};

/** At level debug the proxy observes exchanges, which takes another path through its code. */
const LANES: readonly (readonly string[])[] = [[], [], [], ["--log-level=debug"]];
/** One lane of each kind. */
export const FEW_LANES = LANES.slice(-2);

/** Runs the cases 0 to `cases` - 1 of a seed. */
export async function fuzz({
  kinds,
  cases,
  seed,
  command = [BINARY],
  patience = 5,
  lanes = LANES,
}: Fuzzing): Promise<Summary> {
  const began = performance.now();
  const summary: Summary = { cases: 0, reached: 0, refused: 0, seconds: 0, failures: [] };
  let next = 0;
  const work = async (lane: Lane): Promise<void> => {
    while (next < cases && summary.failures.length < patience && !lane.hasEnded) {
      const number = next++;
      const it = makeCase(kinds[number % kinds.length]!, seed, number);
      const { faults, reached } = await lane.run(it);
      summary.cases++;
      summary.reached += reached > 0 ? 1 : 0;
      summary.refused += reached > 0 ? 0 : 1;
      if (faults.length > 0) summary.failures.push({ seed, number, case: it, fault: faults[0]! });
    }
  };
  await withLanes(command, lanes, async (all) => void (await Promise.all(all.map(work))));
  summary.seconds = (performance.now() - began) / 1000;
  return summary;
}

/** Runs one case `times` times in each kind of lane, because some faults are races. Returns the violated invariants. */
export async function replay(
  it: Case,
  { command = [BINARY], times = 50 }: { command?: readonly string[]; times?: number } = {},
): Promise<string[]> {
  const faults = new Set<string>();
  await withLanes(command, FEW_LANES, async (lanes) => {
    for (const lane of lanes)
      for (let left = times; left > 0 && !lane.hasEnded; left--)
        for (const fault of (await lane.run(it)).faults) faults.add(fault);
  });
  return [...faults];
}

async function withLanes(
  command: readonly string[],
  all: readonly (readonly string[])[],
  use: (lanes: Lane[]) => Promise<void>,
): Promise<void> {
  const starts = await Promise.allSettled(all.map((flags) => Lane.start(command, flags)));
  const lanes = starts.filter((start) => start.status === "fulfilled").map(({ value }) => value);
  try {
    for (const start of starts) if (start.status === "rejected") throw start.reason;
    await use(lanes);
  } finally {
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}

/** Describes the failure for a person, with the text that `--replay` takes. */
export function describeFailure({ seed, number, case: it, fault }: Failure): string {
  return [
    `FAILED seed ${seed}, case ${number} (${it.kind}, from "${it.from}"): ${fault}`,
    `  bytes: ${it.writes.map(show).join(" + ")}, then ${it.ending} (${bytesOf(it).length} bytes)`,
    `  npm run fuzz -- --replay ${toText(it)}`,
  ].join("\n");
}
