// Small requests one after the other on 1, 16 and 64 connections: latency, throughput, processor time, memory and key copies after it.

import { scanMemory } from "../../test/harness/memory.ts";
import { type Bench, type Block, withFailed, withPeers } from "../bench.ts";
import { KEY, PEERS, type Running, TLS_PEERS } from "../peers.ts";
import { processorTimeUs, residentMB } from "../proc.ts";
import { inRounds, type Samples } from "../rounds.ts";
import { atLeast, atMost, makeRow, type Row, type Target } from "../rows.ts";
import { type Load, load } from "../wrk.ts";

export type Measured = Load & { cpuUs: number };

/** One run of the load on a peer, with the processor time a request took of all its processes. */
export async function measureLoad(
  { site, settings }: Bench,
  peer: Running,
  connections: number,
  seconds = settings.seconds,
): Promise<Measured> {
  const pids = peer.pids();
  const before = processorTimeUs(pids);
  const run = await load(site.directory, peer.url, connections, seconds);
  return { ...run, cpuUs: (processorTimeUs(pids) - before) / run.requests };
}

/** To an upstream without TLS. */
export const requests: Block = {
  id: "requests",
  measure: (bench) =>
    withPeers(PEERS, bench.upstreams.plain, bench.site, async (running, failed) => {
      await Bun.sleep(300);
      const idle = await inRounds(1, holding(running), async (name) => residentMB(running.get(name)!.pids()));
      const taken = await measureAll(bench, running, failed);
      const rows = [
        ...latencyRows("", taken[1], [atMost(0.35, "codex")]),
        ...throughputRows("", taken, () => [atLeast(4.5, "codex"), atLeast(0.65, "nginx")]),
        ...processorRows("", taken, [atMost(1.6, "nginx")]),
      ];
      const loaded = await inRounds(1, holding(running), async (name) =>
        residentMB(running.get(name)!.pids()),
      );
      const keys = await inRounds(1, readsKey(running), async (name) => copiesOfKey(running.get(name)!));
      return [
        ...rows,
        memoryRow("rss-idle", "RSS, idle", withFailed(idle, failed)),
        memoryRow("rss-load", "RSS after load", withFailed(loaded, failed)),
        makeRow({
          id: "keys",
          title: "key copies in unlocked memory, after load",
          unit: "copies",
          samples: keys,
          figure: (copies) => copies,
          targets: [atMost(0)],
        }),
      ];
    }),
};

/** To an upstream with TLS that offers HTTP/1.1 and HTTP/2. */
export const tls: Block = {
  id: "tls",
  measure: (bench) =>
    withPeers(TLS_PEERS, bench.upstreams.tls, bench.site, async (running, failed) => {
      const taken = await measureAll(bench, running, failed);
      return [
        ...latencyRows("tls-", taken[1], []),
        ...throughputRows("tls-", taken, () => [atLeast(4.5, "codex")]),
        ...processorRows("tls-", taken, []),
      ];
    }),
};

type Taken = Record<1 | 16 | 64, Samples<Measured>>;

async function measureAll(
  bench: Bench,
  running: Map<string, Running>,
  failed: Map<string, string>,
): Promise<Taken> {
  const take = async (rounds: number, connections: number) =>
    withFailed(
      await inRounds(rounds, [...running.keys()], (name) =>
        measureLoad(bench, running.get(name)!, connections),
      ),
      failed,
    );
  // What compiles itself while it runs, or opens its connections at need, gets the chance to before it is measured.
  await take(1, 16);
  const { rounds } = bench.settings;
  return { 1: await take(rounds, 1), 16: await take(rounds, 16), 64: await take(rounds, 64) };
}

const over = (id: string): string => (id === "" ? "" : ", TLS");

function latencyRows(id: string, samples: Samples<Measured>, targets: Target[]): Row[] {
  return (["p50", "p99"] as const).map((which) =>
    makeRow({
      id: `${id}latency-${which}`,
      title: `latency ${which}, 1 connection, minus direct${over(id)}`,
      unit: "µs",
      samples,
      figure: (one, floor) => one[`${which}Us`] - (floor?.[`${which}Us`] ?? 0),
      targets: which === "p50" ? targets : [],
    }),
  );
}

function throughputRows(id: string, taken: Taken, targets: () => Target[]): Row[] {
  return ([16, 64] as const).map((connections) =>
    makeRow({
      id: `${id}throughput-${connections}`,
      title: `throughput, ${connections} connections${over(id)}`,
      unit: "requests/s",
      samples: taken[connections],
      figure: (one) => one.requestsPerSecond,
      targets: targets(),
    }),
  );
}

function processorRows(id: string, taken: Taken, targets: Target[]): Row[] {
  return ([16, 64] as const).map((connections) =>
    makeRow({
      id: `${id}cpu-${connections}`,
      title: `CPU per request, ${connections} connections${over(id)}`,
      unit: "µs",
      samples: withoutDirect(taken[connections]),
      figure: (one) => one.cpuUs,
      targets,
    }),
  );
}

function withoutDirect<T>({ taken, failed }: Samples<T>): Samples<T> {
  return { taken: new Map([...taken].filter(([name]) => name !== "direct")), failed };
}

const holding = (running: Map<string, Running>): string[] =>
  [...running.keys()].filter((name) => name !== "direct");
const readsKey = (running: Map<string, Running>): string[] =>
  holding(running).filter((name) => name === "ours" || name === "codex");

function copiesOfKey(peer: Running): number {
  return peer.pids().reduce((copies, pid) => copies + scanMemory(pid, KEY).unlocked, 0);
}

function memoryRow(id: string, title: string, samples: Samples<number>): Row {
  return makeRow({ id, title, unit: "MB", samples, figure: (megabytes) => megabytes });
}
