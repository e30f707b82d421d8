// How cost grows: 1, 2, 4 … 4,096 connections, latency and processor time per request.

import { type Block, withFailed, withPeers } from "../bench.ts";
import { inRounds, type Samples } from "../rounds.ts";
import { makeRow } from "../rows.ts";
import { type Measured, measureLoad } from "./requests.ts";

export const CONNECTIONS = Array.from({ length: 13 }, (_, power) => 2 ** power);
const COMPARED = ["direct", "ours", "codex", "nginx"];

/** Shorter than the others, so that all of them and three rounds fit into the time: what is looked for is a shape. */
const SECONDS = 1;

export const connections: Block = {
  id: "connections",
  measure: (bench) =>
    withPeers(COMPARED, bench.upstreams.plain, bench.site, async (running, failed) => {
      const taken: [number, Samples<Measured>][] = [];
      for (const count of CONNECTIONS) {
        const one = await inRounds(bench.settings.rounds, [...running.keys()], (name) =>
          measureLoad(bench, running.get(name)!, count, SECONDS),
        );
        taken.push([count, withFailed(one, failed)]);
      }
      return [
        ...taken.map(([count, samples]) =>
          makeRow({
            id: `connections-${count}-p50`,
            title: `latency p50, connections: ${count.toLocaleString("en")}`,
            unit: "µs",
            samples,
            figure: (one) => one.p50Us,
          }),
        ),
        ...taken.map(([count, { taken: peers, failed: without }]) =>
          makeRow({
            id: `connections-${count}-cpu`,
            title: `CPU per request, connections: ${count.toLocaleString("en")}`,
            unit: "µs",
            samples: { taken: new Map([...peers].filter(([name]) => name !== "direct")), failed: without },
            figure: (one) => one.cpuUs,
          }),
        ),
      ];
    }),
};
