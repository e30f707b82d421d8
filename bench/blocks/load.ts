// Small requests: throughput, latency and processor time from 1 to 1,024 connections, and the memory and copies of the key after them.

import { scanMemory } from "../../test/harness/memory.ts";
import { residentMB } from "../machine/figures.ts";
import {
  ALL_PROXIES,
  type Bench,
  KEY,
  type Peer,
  PEERS,
  PROXIES,
  THREE_LINES,
  withPeers,
} from "../peers/peers.ts";
import { connectionsText, inRounds, makeRatio, makeRow, type Row, Samples } from "../rows.ts";
import { type Load, measureLoad } from "./wrk.ts";

/** In the table, and between them only in the plot. */
const IN_TABLE = [1, 32, 256, 1_024];
const ONLY_PLOTTED = [8, 128, 512];
/** At so many connections the three lines are measured, and others are compared to it. */
const BASE = 32;
/** With more, hardly one of the gateway's answers comes within the time that is measured. */
const MOST_FOR_GATEWAY = 256;

function peersAt(connections: number): string[] {
  if (ONLY_PLOTTED.includes(connections)) return PROXIES;
  if (connections > MOST_FOR_GATEWAY) return ["direct", ...PROXIES];
  return connections === BASE ? [...PEERS, THREE_LINES] : PEERS;
}

/** To an upstream with TLS that offers HTTP/1.1 and HTTP/2. */
export const loadOverTls = (bench: Bench): Promise<Row[]> =>
  withPeers([...PEERS, THREE_LINES], bench.upstreams.tls, bench.site, async (peerOf) => {
    const counts = [...IN_TABLE, ...ONLY_PLOTTED];
    const loads = new Map(counts.map((count) => [count, new Samples<Load>(peersAt(count))]));
    const memory = new Samples<number>(ALL_PROXIES);
    for (let round = 0; round < bench.rounds; round++) {
      for (const [count, samples] of loads) {
        if (round >= bench.fewRounds && ONLY_PLOTTED.includes(count)) continue;
        await samples.takeRound((name) => measureLoad(bench, peerOf(name), count));
      }
      await memory.takeRound((name) => residentMB(peerOf(name).pids()));
    }
    const keys = await inRounds(1, ["ours", "codex"], (name) => copiesOfKey(peerOf(name)));
    return [
      ...rowsOf(loads),
      makeRow({ name: "RSS after the load", unit: "MB", samples: memory, figure: (megabytes) => megabytes }),
      makeRow({ name: "copies of the key", unit: "", samples: keys, figure: (copies) => copies }),
    ];
  });

/** To an upstream without TLS. */
export const loadInClear = (bench: Bench): Promise<Row[]> =>
  withPeers(PROXIES, bench.upstreams.plain, bench.site, async (peerOf) => {
    const rows: Row[] = [];
    for (const count of [32, 256]) {
      const measure = (name: string) => measureLoad(bench, peerOf(name), count);
      const samples = await inRounds(bench.fewRounds, PROXIES, measure);
      const at = connectionsText(count);
      rows.push(
        makeRow({
          name: "requests/s without TLS",
          at,
          unit: "1/s",
          samples,
          figure: (load) => load.requestsPerSecond,
        }),
        makeRow({
          name: "CPU per request without TLS",
          at,
          unit: "µs",
          samples,
          figure: (load) => load.cpuUs,
        }),
      );
    }
    return rows;
  });

function rowsOf(loads: Map<number, Samples<Load>>): Row[] {
  const grow = (name: string, unit: string, figure: (load: Load) => number, ofProxies: boolean) =>
    [...loads].map(([connections, samples]) => {
      const onlyPlotted = ONLY_PLOTTED.includes(connections);
      const at = connectionsText(connections);
      return makeRow({ name, at, unit, samples, figure, ofProxies, connections, onlyPlotted });
    });
  const added = makeRow({
    name: "latency added p50",
    at: connectionsText(1),
    unit: "µs",
    samples: loads.get(1)!,
    ofProxies: true,
    figure: (load, floor) => (floor === undefined ? undefined : load.p50Us - floor.p50Us),
  });
  const cpu = grow("CPU per request", "µs", (load) => load.cpuUs, true);
  const base = cpu.find(({ connections }) => connections === BASE)!;
  const larger = cpu.filter(({ connections, onlyPlotted }) => connections! > BASE && !onlyPlotted);
  return [
    added,
    ...grow("latency p50", "µs", (load) => load.p50Us, false),
    ...grow("requests/s", "1/s", (load) => load.requestsPerSecond, false),
    ...cpu,
    ...larger.map((row) => makeRatio("CPU per request, to that at 32", row, base)),
  ];
}

function copiesOfKey(peer: Peer): number {
  return peer.pids().reduce((copies, pid) => copies + scanMemory(pid, KEY).unlocked, 0);
}
