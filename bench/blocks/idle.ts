// What a proxy costs that nobody asks: memory and wake-ups.

import { residentMB, sleepsOf, wakeUpsSince } from "../machine/figures.ts";
import { ALL_PROXIES, type Bench, type Peer, withPeers } from "../peers/peers.ts";
import { inRounds, makeRow, type Row, Samples } from "../rows.ts";

/** They start in an instant, but for one that shows a spinner for a second. */
const START_MS = 2_000;

type PeerOf = (name: string) => Peer;

/** All peers are silent at the same time. */
export async function idle({ site, upstreams, fewRounds, restSeconds, idleSeconds }: Bench): Promise<Row[]> {
  const memory = new Samples<number>(ALL_PROXIES);
  for (let round = 0; round < fewRounds; round++) {
    await withPeers(ALL_PROXIES, upstreams.tls, site, async (peerOf) => {
      await Bun.sleep(START_MS);
      await memory.takeRound((name) => residentMB(peerOf(name).pids()));
    });
  }
  const [atFirst, later] = [new Samples<number>(ALL_PROXIES), new Samples<number>(ALL_PROXIES)];
  await withPeers(ALL_PROXIES, upstreams.tls, site, async (peerOf) => {
    await inRounds(1, ALL_PROXIES, (name) => ask(peerOf(name)));
    await countWakeUps(atFirst, peerOf, restSeconds);
    for (let round = 0; round < fewRounds; round++) await countWakeUps(later, peerOf, idleSeconds);
  });
  const figure = (one: number): number => one;
  return [
    makeRow({ name: "RSS, idle", unit: "MB", samples: memory, figure }),
    makeRow({ name: "wake-ups, at first", unit: "1/s", samples: atFirst, figure }),
    makeRow({ name: "wake-ups, idle", unit: "1/s", samples: later, figure }),
  ];
}

async function ask({ url, headers }: Peer): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: '{"model":"gpt-5","input":"hi"}',
    signal: AbortSignal.timeout(10_000),
    keepalive: false,
  });
  await answer.text();
}

async function countWakeUps(samples: Samples<number>, peerOf: PeerOf, seconds: number): Promise<void> {
  const before = await inRounds(1, ALL_PROXIES, (name) => sleepsOf(peerOf(name).pids()));
  await Bun.sleep(1_000 * seconds);
  await samples.takeRound((name) => {
    const pids = peerOf(name).pids();
    return wakeUpsSince(before.taken.get(name)![0]!, pids) / seconds;
  });
}
