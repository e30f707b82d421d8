// What a proxy costs that nobody asks: memory and wake-ups.

import { residentMB, sleepsOf, wakeUpsSince } from "../machine/figures.ts";
import { ALL_PROXIES, type Bench, type Peer, withPeers } from "../peers/peers.ts";
import { makeRow, type Row, Samples } from "../rows.ts";

/** They start in an instant, but for one that shows a spinner for a second. */
const START_MS = 2_000;

type Idle = { residentMB: number; wakeUps: number };

/** All peers are silent at the same time, in each round started anew. */
export async function idle({ site, upstreams, ...bench }: Bench): Promise<Row[]> {
  const samples = new Samples<Idle>(ALL_PROXIES);
  for (let round = 0; round < bench.fewRounds; round++) {
    await withPeers(ALL_PROXIES, upstreams.tls, site, async (peerOf) => {
      const attempts = new Map(ALL_PROXIES.map((name) => [name, beSilent(peerOf, name, bench)]));
      await Promise.allSettled(attempts.values());
      await samples.takeRound((name) => attempts.get(name)!);
    });
  }
  return [
    makeRow({ name: "RSS, idle", unit: "MB", samples, figure: (idle) => idle.residentMB }),
    makeRow({ name: "wake-ups, idle", unit: "1/s", samples, figure: (idle) => idle.wakeUps }),
  ];
}

async function beSilent(
  peerOf: (name: string) => Peer,
  name: string,
  { restSeconds, idleSeconds }: Pick<Bench, "restSeconds" | "idleSeconds">,
): Promise<Idle> {
  const { url, headers, pids } = peerOf(name);
  await Bun.sleep(START_MS);
  const megabytes = residentMB(pids());
  const type = { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(10_000);
  const body = '{"model":"gpt-5","input":"hi"}';
  const answer = await fetch(url, { method: "POST", headers: { ...type, ...headers }, body, signal });
  if (answer.status !== 200) throw new Error(`the response is ${answer.status}`);
  await answer.text();
  await Bun.sleep(1_000 * restSeconds);
  const before = sleepsOf(pids());
  await Bun.sleep(1_000 * idleSeconds);
  return { residentMB: megabytes, wakeUps: wakeUpsSince(before, pids()) / idleSeconds };
}
