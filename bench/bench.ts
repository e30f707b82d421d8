// What every block of measurements gets, and how the peers of one are started and ended together.

import type { Settings } from "./arguments.ts";
import { type Running, type Site, startPeer } from "./peers.ts";
import type { Samples } from "./rounds.ts";
import type { Row } from "./rows.ts";
import type { Upstreams } from "./upstream.ts";

export type Bench = { settings: Settings; site: Site; upstreams: Upstreams };

/** A group of rows that are measured together. */
export type Block = { id: string; measure: (bench: Bench) => Promise<Row[]> };

/** Starts the peers that can be, has `measure` use them, and ends them. */
export async function withPeers<Result>(
  names: readonly string[],
  upstream: URL,
  site: Site,
  measure: (running: Map<string, Running>, failed: Map<string, string>) => Promise<Result>,
): Promise<Result> {
  const running = new Map<string, Running>();
  const failed = new Map<string, string>();
  try {
    for (const name of names) {
      await startPeer(name, upstream, site).then(
        (peer) => running.set(name, peer),
        (error: Error) => failed.set(name, error.message),
      );
    }
    return await measure(running, failed);
  } finally {
    for (const peer of running.values()) await peer.stop();
  }
}

/** The samples, with those that could not even be started among the failed. */
export function withFailed<T>(samples: Samples<T>, failed: Map<string, string>): Samples<T> {
  return { ...samples, failed: new Map([...failed, ...samples.failed]) };
}
