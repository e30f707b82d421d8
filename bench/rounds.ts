// Measuring in rounds: in each, every peer once, back to back; so that what disturbs the machine disturbs all, and ratios are of neighbours.

export type Samples<T> = {
  /** For each peer, in its order: the sample of each round. */
  taken: Map<string, T[]>;
  /** For each peer that could not be measured: why. */
  failed: Map<string, string>;
};

/** Takes `rounds` samples of each peer, each round beginning with another. A peer that fails is left out from there on. */
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
        failed.set(peer, `failed: ${(error as Error).message}`);
        taken.delete(peer);
      }
    }
  }
  return { taken, failed };
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value that `fraction` of the values do not exceed. */
export function percentile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(fraction * sorted.length) - 1)]!;
}
