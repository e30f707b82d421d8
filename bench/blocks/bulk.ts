// Large bodies: an answer of 100 MB, and an upload of 100 MB, on a connection of their own, without TLS.

import { type Block, withFailed, withPeers } from "../bench.ts";
import { transfer } from "../bulk.ts";
import { PEERS } from "../peers.ts";
import { inRounds } from "../rounds.ts";
import { atLeast, makeRow } from "../rows.ts";

const MEGABYTES = 100;
const BYTES = MEGABYTES * 1e6;
const SMALL = 100;

export const bulk: Block = {
  id: "bulk",
  measure: ({ site, upstreams, settings }) =>
    withPeers(PEERS, upstreams.bulk, site, async (running, failed) => {
      const names = [...running.keys()];
      const answers = await inRounds(settings.rounds + 2, names, (name) =>
        transfer(running.get(name)!.url, SMALL, BYTES),
      );
      const uploads = await inRounds(settings.rounds + 2, names, (name) =>
        transfer(running.get(name)!.url, BYTES, SMALL),
      );
      return [["answer", answers] as const, ["upload", uploads] as const].map(([what, samples]) =>
        makeRow({
          id: what,
          title: `100 MB ${what}`,
          unit: "MB/s",
          samples: withFailed(samples, failed),
          figure: (seconds) => MEGABYTES / seconds,
          targets: [atLeast(0.8, "codex")],
        }),
      );
    }),
};
