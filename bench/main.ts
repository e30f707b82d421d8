// Measures the program side by side with what one would use instead, and writes the table. Usage: see arguments.ts.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readArguments } from "./arguments.ts";
import type { Block } from "./bench.ts";
import { bulk } from "./blocks/bulk.ts";
import { connections } from "./blocks/connections.ts";
import { events, firstByte } from "./blocks/events.ts";
import { requests, tls } from "./blocks/requests.ts";
import { starts } from "./blocks/start.ts";
import { endEverythingAtExit, run, temporaryDirectory } from "./children.ts";
import { describeMachine } from "./machine.ts";
import { makeSite } from "./peers.ts";
import { drawConnections } from "./plot.ts";
import { type Report, toMarkdown, toTable } from "./report.ts";
import { requireRoot, requireTools } from "./requirements.ts";
import type { Row } from "./rows.ts";
import { startUpstreams } from "./upstream.ts";

const BLOCKS: Block[] = [requests, tls, events, firstByte, bulk, starts, connections];
const RESULTS = join(import.meta.dir, "results");

endEverythingAtExit();
try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`bench: error: ${(error as Error).message}`);
  process.exit(1);
}

async function main(): Promise<void> {
  const settings = readArguments(
    process.argv.slice(2),
    BLOCKS.map(({ id }) => id),
  );
  requireRoot();
  await run([process.execPath, "packaging/build.ts"], { cwd: join(import.meta.dir, "..") });
  const started = performance.now();
  const machine = describeMachine();
  const tools = await requireTools();
  const directory = temporaryDirectory();
  const site = makeSite(directory, tools);
  const upstreams = await startUpstreams(tools.nginx, directory);
  const rows: Row[] = [];
  for (const block of BLOCKS) {
    if (settings.only.length > 0 && !settings.only.includes(block.id)) continue;
    console.error(`${minutesSince(started).toFixed(1)} min: ${block.id}`);
    rows.push(...(await block.measure({ settings, site, upstreams })));
  }
  await upstreams.stop();
  console.log(toTable(rows));
  // A part, or a single round, is for looking at; what is kept is whole.
  if (settings.only.length > 0 || settings.rounds < 3) return;
  await keep({
    date: new Date().toISOString().slice(0, 10),
    minutes: minutesSince(started),
    rounds: settings.rounds,
    machine,
    versions: tools.versions,
    rows,
  });
}

async function keep(report: Report): Promise<void> {
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(join(RESULTS, "latest.json"), `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(join(RESULTS, "latest.md"), toMarkdown(report));
  writeFileSync(join(RESULTS, "connections.svg"), drawConnections(report.rows));
  // The gate looks at their format, too.
  await run([process.execPath, "fmt", RESULTS], { cwd: join(import.meta.dir, "..") });
}

function minutesSince(started: number): number {
  return (performance.now() - started) / 60_000;
}
