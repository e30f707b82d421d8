// 1,000 event streams over TLS opened at once, and after they have ended another 1,000: how long they take to begin, and whether the second
// ones find connections to the upstream.

import { join } from "node:path";

import { type Bench, PEERS, startPeer } from "../peers/peers.ts";
import { Helper } from "../programs/helper.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

const AT_ONCE = 1_000;
/** A stream that has not begun by then counts as if it had begun then. */
const LONGEST_MS = 5_000;
/** So long streams may take to end, and connections to be put back. */
const END_MS = 2_000;
const REST_MS = 200;

type Wave = { p50Ms: number; p99Ms: number; handshakes: number };

/** Through a peer that was just started. */
export async function waves(bench: Bench): Promise<Row[]> {
  const reader = new Helper("event-reader.ts");
  const samples = await inRounds(bench.rounds, PEERS, (name) => openTwice(bench, reader, name));
  const row = (wave: 0 | 1, which: "p50" | "p99"): Row =>
    makeRow({
      name: `first byte ${which}`,
      at: wave === 0 ? "1,000 streams at once" : "1,000 more",
      unit: "ms",
      samples,
      figure: (waves) => waves[wave]![`${which}Ms`],
    });
  const handshakes = makeRow({
    name: "new TLS handshakes",
    at: "1,000 more",
    unit: "",
    samples,
    ofProxies: true,
    figure: (waves) => waves[1]!.handshakes,
  });
  return [row(0, "p50"), row(0, "p99"), row(1, "p50"), row(1, "p99"), handshakes];
}

async function openTwice({ site, upstreams }: Bench, reader: Helper, name: string): Promise<Wave[]> {
  const { url, headers, stop } = await startPeer(name, upstreams.tlsStreams, site);
  const place = { url, headers, caFile: join(site.directory, "ca.crt") };
  const open = async (): Promise<Wave> => {
    const before = await upstreams.status();
    const question = { do: "openAtOnce", count: AT_ONCE, patienceMs: LONGEST_MS, ...place };
    const times = await reader.ask<{ p50Ms: number; p99Ms: number }>(question);
    const after = await upstreams.status();
    return { ...times, handshakes: after.connections - before.connections };
  };
  try {
    const first = await open();
    await upstreams.servers.ask({ do: "finish" });
    await reader.ask({ do: "untilFinished", patienceMs: END_MS });
    await reader.ask({ do: "close" });
    await Bun.sleep(REST_MS);
    return [first, await open()];
  } finally {
    await reader.ask({ do: "close" });
    await stop();
    await upstreams.servers.ask({ do: "untilClosed" });
  }
}
