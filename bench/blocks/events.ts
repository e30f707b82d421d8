// Event streams without TLS: how late events are with 1 to 5,000 streams open, and the memory they hold.

import { residentMB } from "../machine/figures.ts";
import { type Bench, PEERS, startPeer } from "../peers/peers.ts";
import { Helper } from "../programs/helper.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

/** The streams, the events on each, and the pause after an event on all of them. */
const STEPS = [
  { streams: 1, events: 50, pauseMs: 10 },
  { streams: 100, events: 20, pauseMs: 30 },
  { streams: 1_000, events: 8, pauseMs: 150 },
  { streams: 5_000, events: 3, pauseMs: 600 },
] as const;

type Delays = { missing: number; p50Ms?: number };
type Step = Delays & { residentMB: number };
/** An event may come that long after the last one was sent. */
const PATIENCE_MS = 1_500;

/** Each event is sent on all streams at the same moment, which is the worst case. */
export async function events(bench: Bench): Promise<Row[]> {
  const reader = new Helper("event-reader.ts");
  const samples = await inRounds(bench.fewRounds, PEERS, (name) => stepUp(bench, reader, name));
  const at = (step: number): string =>
    `${STEPS[step]!.streams.toLocaleString("en")} ${step === 0 ? "stream" : "streams"}`;
  return [
    ...STEPS.map((_, step) =>
      makeRow({
        name: "event delay p50",
        at: at(step),
        unit: "ms",
        samples,
        ofProxies: true,
        figure: (steps, floor) => {
          const late = steps[step]!.p50Ms;
          return late === undefined ? undefined : late - (floor?.[step]!.p50Ms ?? 0);
        },
        missing: `events had not come ${PATIENCE_MS / 1000} s after the last was sent`,
      }),
    ),
    ...[2, 3].map((step) =>
      makeRow({
        name: "RSS",
        at: at(step),
        unit: "MB",
        samples,
        ofProxies: true,
        figure: (steps) => steps[step]!.residentMB,
      }),
    ),
  ];
}

/** Starts a peer, and opens more and more streams through it. */
async function stepUp({ site, upstreams }: Bench, reader: Helper, name: string): Promise<Step[]> {
  const { servers } = upstreams;
  const { url, headers, pids, stop } = await startPeer(name, upstreams.streams, site);
  try {
    const steps: Step[] = [];
    for (const { streams, events, pauseMs } of STEPS) {
      const opened = await reader.ask<{ streams: number }>({ do: "open", count: streams, url, headers });
      await reader.ask({ do: "expect", events: opened.streams * events });
      const sent = await servers.ask<{ streams: number }>({ do: "send", events, pauseMs });
      if (sent.streams !== opened.streams) {
        throw new Error(`${opened.streams} streams are open at one end, ${sent.streams} at the other`);
      }
      const delays = await reader.ask<Delays>({ do: "delays", patienceMs: PATIENCE_MS });
      steps.push({ ...delays, residentMB: residentMB(pids()) });
    }
    return steps;
  } finally {
    await reader.ask({ do: "close" });
    await stop();
    await servers.ask({ do: "untilClosed" });
  }
}
