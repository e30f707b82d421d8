// From measurements to rows of the table. They are taken in rounds: in each, every peer once, back to back. So what disturbs the machine
// disturbs all of them, and a ratio is one of neighbours.

export type Samples<T> = {
  /** Peer → the sample of each round. */
  taken: Map<string, T[]>;
  /** Peer → why it could not be measured. */
  failed: Map<string, string>;
};

/** Takes `rounds` samples of each peer. Each round begins with another peer. A peer that fails is left out from there on. */
export async function inRounds<T>(
  rounds: number,
  peers: readonly string[],
  measure: (peer: string) => Promise<T>,
): Promise<Samples<T>> {
  const taken = new Map<string, T[]>(peers.map((peer) => [peer, []]));
  const failed = new Map<string, string>();
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < peers.length; turn++) {
      const peer = peers[(turn + round) % peers.length]!;
      if (failed.has(peer)) continue;
      try {
        taken.get(peer)!.push(await measure(peer));
      } catch (error) {
        failed.set(peer, (error as Error).message);
        taken.delete(peer);
      }
    }
  }
  return { taken, failed };
}

/** What the program must reach: `limit` times the figure of the peer `times`, or `limit` itself. */
export type Target = { sign: "≤" | "≥" | "<"; limit: number; times?: string };

export type Row = {
  title: string;
  unit: string;
  /** Peer → the median, or why there is none. */
  figures: Record<string, number | string>;
  verdicts: { target: string; value: string; reached: boolean }[];
  /** The row is a point of the plot (plot.ts). */
  point?: Point;
};

/** In which panel of the plot, and for how many connections. */
export type Point = { panel: "latency p50, µs" | "CPU per request, µs"; connections: number };

type Source<T> = {
  title: string;
  unit: string;
  samples: Samples<T>;
  /** The figure of a sample; `floor` is the sample of the direct connection in the same round. */
  figure: (sample: T, floor: T | undefined) => number | undefined;
  /** The row is about proxies, and the direct connection has no figure. */
  ofProxies?: true;
  /** What it means if a sample has no figure. */
  missing?: string;
  targets?: readonly Target[];
  point?: Point;
};

/** Returns a row: medians over the rounds, and ratios as medians of each round's own ratio. */
export function makeRow<T>({ samples, figure, ofProxies, missing, targets = [], ...row }: Source<T>): Row {
  const floors = samples.taken.get("direct") ?? [];
  const rounds: Record<string, number[]> = {};
  const figures: Row["figures"] = Object.fromEntries(samples.failed);
  for (const [peer, taken] of samples.taken) {
    if (ofProxies && peer === "direct") continue;
    const all = taken.map((one, n) => figure(one, floors[n])).filter((one) => one !== undefined);
    if (all.length === taken.length) rounds[peer] = all;
    figures[peer] = all.length === taken.length ? median(all) : (missing ?? "not measured");
  }
  return { ...row, figures, verdicts: targets.map((target) => judge(target, row.unit, rounds)) };
}

function judge({ sign, limit, times }: Target, unit: string, rounds: Record<string, number[]>) {
  const target = `${sign} ${limit} ${times === undefined ? unit : `× ${times}`}`;
  const own = rounds["ours"];
  const others = times === undefined ? undefined : rounds[times];
  if (own === undefined || (times !== undefined && others === undefined))
    return { target, value: "not measured", reached: false };
  const value = median(own.map((figure, n) => (others === undefined ? figure : figure / others[n]!)));
  const reached = sign === "≥" ? value >= limit : sign === "≤" ? value <= limit : value < limit;
  return { target, value: `${value.toPrecision(3)}${times === undefined ? "" : " ×"}`, reached };
}

/** Returns the middle value, or the mean of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
