// Event streams: how late events are with 1 to 5,000 streams open, how long 1,000 at once take to begin, and the memory they hold.

import { join } from "node:path";

import { Helper } from "../helper.ts";
import { type Bench, PEERS, startPeer } from "../peers.ts";
import { residentMB } from "../processes.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

/** The streams, the events on each, the pause after an event on all of them, and how late events may be. */
const STEPS = [
  { streams: 1, events: 50, pauseMs: 10, limitMs: 2 },
  { streams: 100, events: 20, pauseMs: 30, limitMs: 2 },
  { streams: 1_000, events: 8, pauseMs: 150, limitMs: 5 },
  { streams: 5_000, events: 3, pauseMs: 600, limitMs: 20 },
] as const;

type Delays = { missing: number; p50Ms?: number; p99Ms?: number };
type Step = Delays & { residentMB: number };
/** An event may come that long after the last one was sent. */
const PATIENCE_MS = 1_500;

/** To an upstream without TLS. Each event is sent on all streams at the same moment, which is the worst case. */
export async function events(bench: Bench): Promise<Row[]> {
  const reader = new Helper("event-reader.ts");
  const samples = await inRounds(bench.rounds, PEERS, (name) => stepUp(bench, reader, name));
  return [
    ...STEPS.map(({ streams, limitMs }, step) =>
      makeRow({
        title: `event delay p50, ${many(streams)}, minus direct`,
        unit: "ms",
        samples,
        figure: (steps, floor) => {
          const late = steps[step]!.p50Ms;
          return late === undefined ? undefined : late - (floor?.[step]!.p50Ms ?? 0);
        },
        missing: `events had not come ${PATIENCE_MS / 1000} s after the last was sent`,
        targets: [{ sign: "≤", limit: limitMs }],
      }),
    ),
    ...[2, 3].map((step) =>
      makeRow({
        title: `RSS at ${many(STEPS[step]!.streams)}`,
        unit: "MB",
        samples,
        ofProxies: true,
        figure: (steps) => steps[step]!.residentMB,
        targets: step === 3 ? [{ sign: "≤", limit: 0.3, times: "codex" }] : [],
      }),
    ),
  ];
}

const many = (streams: number): string =>
  `${streams.toLocaleString("en")} ${streams === 1 ? "stream" : "streams"}`;

/** Starts a peer, and opens more and more streams through it. */
async function stepUp({ site, upstreams }: Bench, reader: Helper, name: string): Promise<Step[]> {
  const { servers } = upstreams;
  const peer = await startPeer(name, upstreams.streams, site);
  try {
    const steps: Step[] = [];
    for (const { streams, events, pauseMs } of STEPS) {
      const opened = await reader.ask<{ streams: number }>({ do: "open", count: streams, url: peer.url });
      await reader.ask({ do: "expect", events: opened.streams * events });
      const sent = await servers.ask<{ streams: number }>({ do: "send", events, pauseMs });
      if (sent.streams !== opened.streams) {
        throw new Error(`${opened.streams} streams are open at one end, ${sent.streams} at the other`);
      }
      const delays = await reader.ask<Delays>({ do: "delays", patienceMs: PATIENCE_MS });
      steps.push({ ...delays, residentMB: residentMB(peer.pids()) });
    }
    return steps;
  } finally {
    await reader.ask({ do: "close" });
    await peer.stop();
    await servers.ask({ do: "untilClosed" });
  }
}

type FirstByte = { p50Ms: number; p99Ms: number };
const AT_ONCE = 1_000;
/** A stream that has not begun by then counts as if it had begun then. */
const LONGEST_MS = 5_000;

/** Through a peer that was just started, to an upstream with TLS that offers HTTP/1.1 and HTTP/2. */
export async function firstByte(bench: Bench): Promise<Row[]> {
  const reader = new Helper("event-reader.ts");
  const samples = await inRounds(bench.rounds, PEERS, (name) => openAtOnce(bench, reader, name));
  return (["p50", "p99"] as const).map((which) =>
    makeRow({
      title: `first byte ${which} of 1,000 streams opened at once, TLS`,
      unit: "ms",
      samples,
      figure: (one) => one[`${which}Ms`],
      targets: [{ sign: "<", limit: 1, times: "codex" }],
    }),
  );
}

async function openAtOnce({ site, upstreams }: Bench, reader: Helper, name: string): Promise<FirstByte> {
  const peer = await startPeer(name, upstreams.tlsStreams, site);
  try {
    const caFile = join(site.directory, "ca.crt");
    return await reader.ask<FirstByte>({
      do: "openAtOnce",
      count: AT_ONCE,
      patienceMs: LONGEST_MS,
      url: peer.url,
      caFile,
    });
  } finally {
    await reader.ask({ do: "close" });
    await peer.stop();
    await upstreams.servers.ask({ do: "untilClosed" });
  }
}
