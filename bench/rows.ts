// One row of the table: a figure for each peer, and what the program must reach.

import { median, type Samples } from "./rounds.ts";

export type Target = {
  bound: "at most" | "at least" | "less than";
  limit: number;
  /** The limit is that many times this peer's figure; an absolute figure where it is left out. */
  times?: string;
  /** Who must reach it. */
  who: string;
};

export type Verdict = { target: string; value: string; reached: boolean };

export type Row = {
  id: string;
  title: string;
  unit: string;
  /** The median for each peer, or why there is none. */
  figures: Record<string, number | string>;
  /** The figure of each round that the median is of. */
  rounds: Record<string, number[]>;
  verdicts: Verdict[];
};

type Source<T> = {
  id: string;
  title: string;
  unit: string;
  samples: Samples<T>;
  /** The figure in a sample; `floor` is the direct connection's sample of the same round. */
  figure: (sample: T, floor: T | undefined) => number | undefined;
  /** What it means where a sample has none. */
  missing?: string;
  targets?: Target[];
};

/** Makes a row: medians over the rounds, and ratios as medians of each round's own ratio. */
export function makeRow<T>({ id, title, unit, samples, figure, missing, targets = [] }: Source<T>): Row {
  const floors = samples.taken.get("direct") ?? [];
  const rounds: Record<string, number[]> = {};
  const without = new Map(samples.failed);
  for (const [peer, taken] of samples.taken) {
    const figures = taken.map((one, n) => figure(one, floors[n])).filter((one) => one !== undefined);
    if (figures.length === taken.length) rounds[peer] = figures;
    else without.set(peer, missing ?? "not measured");
  }
  const medians = Object.entries(rounds).map(([peer, values]) => [peer, median(values)] as const);
  return {
    id,
    title,
    unit,
    figures: { ...Object.fromEntries(medians), ...Object.fromEntries(without) },
    rounds,
    verdicts: targets.map((target) => judge(target, unit, rounds)),
  };
}

const SIGNS = { "at most": "≤", "at least": "≥", "less than": "<" };

function judge(
  { bound, limit, times, who }: Target,
  unit: string,
  rounds: Record<string, number[]>,
): Verdict {
  const target = `${SIGNS[bound]} ${limit}${times === undefined ? ` ${unit}` : ` × ${times}`}`;
  const own = rounds[who];
  const others = times === undefined ? undefined : rounds[times];
  if (own === undefined || (times !== undefined && others === undefined)) {
    return { target, value: "not measured", reached: false };
  }
  const value = median(own.map((figure, n) => (others === undefined ? figure : figure / others[n]!)));
  const reached =
    bound === "at least" ? value >= limit : bound === "at most" ? value <= limit : value < limit;
  return { target, value: `${value.toPrecision(3)}${times === undefined ? "" : " ×"}`, reached };
}

/** Shorthands for the targets of the program with its default settings. */
export const atMost = (limit: number, times?: string, who = "ours"): Target => ({
  bound: "at most",
  limit,
  who,
  ...(times === undefined ? {} : { times }),
});
export const atLeast = (limit: number, times: string, who = "ours"): Target => ({
  bound: "at least",
  limit,
  times,
  who,
});
export const lessThan = (times: string, who = "ours"): Target => ({
  bound: "less than",
  limit: 1,
  times,
  who,
});
