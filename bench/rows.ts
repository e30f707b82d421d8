// From measurements to rows of figures. They are taken in rounds: in each, every peer once, in turns. So what disturbs the machine disturbs
// all of them, and a ratio is one of neighbours.

/** What is measured of each peer, a sample a round. */
export class Samples<T> {
  /** Peer → the sample of each round. */
  readonly taken = new Map<string, T[]>();
  /** Peer → why it could not be measured. */
  readonly failed = new Map<string, string>();
  readonly #peers: readonly string[];
  #rounds = 0;

  constructor(peers: readonly string[]) {
    this.#peers = peers;
    for (const peer of peers) this.taken.set(peer, []);
  }

  /** Takes a sample of each peer. Each round begins with another peer. One that fails is left out from there on. */
  async takeRound(measure: (peer: string) => T | Promise<T>): Promise<void> {
    const first = this.#rounds++;
    for (let turn = 0; turn < this.#peers.length; turn++) {
      const peer = this.#peers[(first + turn) % this.#peers.length]!;
      if (this.failed.has(peer)) continue;
      try {
        this.taken.get(peer)!.push(await measure(peer));
      } catch (error) {
        this.failed.set(peer, (error as Error).message);
        this.taken.delete(peer);
      }
    }
  }
}

/** Takes that many rounds. */
export async function inRounds<T>(
  rounds: number,
  peers: readonly string[],
  measure: (peer: string) => T | Promise<T>,
): Promise<Samples<T>> {
  const samples = new Samples<T>(peers);
  for (let round = 0; round < rounds; round++) await samples.takeRound(measure);
  return samples;
}

export type Row = {
  /** What is measured; report/meanings.ts says what that is. */
  name: string;
  /** At how many connections or streams; empty if that is no question. */
  at: string;
  unit: string;
  /** Peer → the figure of each round, or why there is none. */
  figures: Record<string, number[] | string>;
  /** The row is a point of the plot, at so many connections. */
  connections?: number;
  /** It is in no table. */
  onlyPlotted?: boolean;
};

type Source<T> = Omit<Row, "at" | "figures"> & {
  at?: string;
  samples: Samples<T>;
  /** The figure of a sample; `floor` is the sample of the direct connection in the same round. */
  figure: (sample: T, floor: T | undefined) => number | undefined;
  /** The row is about proxies, and the direct connection has no figure. */
  ofProxies?: boolean;
  /** What it means if a sample has no figure. */
  missing?: string;
};

export function makeRow<T>({ at = "", samples, figure, ofProxies, missing, ...row }: Source<T>): Row {
  const floors = samples.taken.get("direct") ?? [];
  const figures: Row["figures"] = Object.fromEntries(samples.failed);
  for (const [peer, taken] of samples.taken) {
    if (ofProxies && peer === "direct") continue;
    const all = taken.map((one, n) => figure(one, floors[n])).filter((one) => one !== undefined);
    figures[peer] = all.length === taken.length ? all : (missing ?? "not measured");
  }
  return { ...row, at, figures };
}

/** Returns a row of `row` in proportion to `base`, round by round. */
export function makeRatio(name: string, row: Row, base: Row): Row {
  const figures: Row["figures"] = {};
  for (const [peer, all] of Object.entries(row.figures)) {
    const others = base.figures[peer]!;
    figures[peer] = typeof all === "string" ? all : typeof others === "string" ? others : divide(all, others);
  }
  return { name, at: row.at, unit: "×", figures };
}

/** Divides the figures of each round. */
export const divide = (all: readonly number[], others: readonly number[]): number[] =>
  all.slice(0, others.length).map((one, round) => one / others[round]!);

export const titleOf = ({ name, at }: Row): string => (at === "" ? name : `${name}, ${at}`);

export const connectionsText = (count: number): string =>
  `${count.toLocaleString("en")} ${count === 1 ? "connection" : "connections"}`;

/** Returns the middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
