// Small requests: latency, throughput, processor time, and the memory and key copies after them; and how cost grows with connections.

import { scanMemory } from "../../test/harness/memory.ts";
import { type Load, measureLoad } from "../load.ts";
import { type Bench, KEY, type Peer, PEERS, PROXIES, withPeers } from "../peers.ts";
import { residentMB } from "../processes.ts";
import { inRounds, makeRow, type Point, type Row, type Samples, type Target } from "../rows.ts";

type PeerOf = (name: string) => Peer;
type Targets = { latency?: Target[]; throughput?: Target[]; cpu?: Target[] };

/** To an upstream without TLS. */
export const requests = (bench: Bench): Promise<Row[]> =>
  withPeers(PEERS, bench.upstreams.plain, bench.site, async (peerOf) => {
    const memory = async (title: string): Promise<Row> => {
      const measure = async (name: string) => residentMB(peerOf(name).pids());
      const samples = await inRounds(1, PROXIES, measure);
      return makeRow({ title, unit: "MB", samples, figure: (megabytes) => megabytes });
    };
    await Bun.sleep(300);
    const idle = await memory("RSS, idle");
    const rows = await measureRequests(bench, peerOf, "", {
      latency: [{ sign: "≤", limit: 0.35, times: "codex" }],
      throughput: [
        { sign: "≥", limit: 4.5, times: "codex" },
        { sign: "≥", limit: 0.65, times: "nginx" },
      ],
      cpu: [{ sign: "≤", limit: 1.6, times: "nginx" }],
    });
    const loaded = await memory("RSS after load");
    const keys = makeRow({
      title: "key copies in unlocked memory, after load",
      unit: "copies",
      samples: await inRounds(1, ["ours", "codex"], async (name) => copiesOfKey(peerOf(name))),
      figure: (copies) => copies,
      targets: [{ sign: "≤", limit: 0 }],
    });
    return [...rows, idle, loaded, keys];
  });

function copiesOfKey(peer: Peer): number {
  return peer.pids().reduce((copies, pid) => copies + scanMemory(pid, KEY).unlocked, 0);
}

/** To an upstream with TLS that offers HTTP/1.1 and HTTP/2. */
export const tls = (bench: Bench): Promise<Row[]> =>
  withPeers(PEERS, bench.upstreams.tls, bench.site, (peerOf) =>
    measureRequests(bench, peerOf, ", TLS", { throughput: [{ sign: "≥", limit: 4.5, times: "codex" }] }),
  );

async function measureRequests(
  bench: Bench,
  peerOf: PeerOf,
  overTls: string,
  targets: Targets,
): Promise<Row[]> {
  const take = (rounds: number, connections: number) =>
    inRounds(rounds, PEERS, (name) => measureLoad(bench, peerOf(name), connections));
  // Before it is measured, each peer gets the chance to compile what runs often, and to open its connections.
  await take(1, 16);
  const one = await take(bench.rounds, 1);
  const many = [
    { connections: 16, samples: await take(bench.rounds, 16) },
    { connections: 64, samples: await take(bench.rounds, 64) },
  ];
  return [
    ...(["p50", "p99"] as const).map((which) =>
      makeRow({
        title: `latency ${which}, 1 connection, minus direct${overTls}`,
        unit: "µs",
        samples: one,
        figure: (load, floor) => load[`${which}Us`] - (floor?.[`${which}Us`] ?? 0),
        targets: which === "p50" ? (targets.latency ?? []) : [],
      }),
    ),
    ...many.map(({ connections, samples }) =>
      makeRow({
        title: `throughput, ${connections} connections${overTls}`,
        unit: "requests/s",
        samples,
        figure: (load) => load.requestsPerSecond,
        targets: targets.throughput ?? [],
      }),
    ),
    ...many.map(({ connections, samples }) =>
      makeRow({
        title: `CPU per request, ${connections} connections${overTls}`,
        unit: "µs",
        samples,
        ofProxies: true,
        figure: (load) => load.cpuUs,
        targets: targets.cpu ?? [],
      }),
    ),
  ];
}

/** 1, 2, 4 … 4,096. */
const CONNECTIONS = Array.from({ length: 13 }, (_, power) => 2 ** power);
/** Shorter than the other runs, because there are many: the shape is what matters. */
const SECONDS = 1;

export const connections = (bench: Bench): Promise<Row[]> => {
  const peers = PEERS.filter((name) => name !== "HAProxy");
  return withPeers(peers, bench.upstreams.plain, bench.site, async (peerOf) => {
    const taken: { count: number; samples: Samples<Load> }[] = [];
    for (const count of CONNECTIONS) {
      const measure = (name: string) => measureLoad(bench, peerOf(name), count, SECONDS);
      taken.push({ count, samples: await inRounds(bench.rounds, peers, measure) });
    }
    const rowsOf = (panel: Point["panel"], figure: (load: Load) => number, more: { ofProxies?: true }) =>
      taken.map(({ count, samples }) =>
        makeRow({
          title: `${panel.replace(", µs", "")}, connections: ${count.toLocaleString("en")}`,
          unit: "µs",
          samples,
          figure,
          point: { panel, connections: count },
          ...more,
        }),
      );
    return [
      ...rowsOf("latency p50, µs", (load) => load.p50Us, {}),
      ...rowsOf("CPU per request, µs", (load) => load.cpuUs, { ofProxies: true }),
    ];
  });
};
