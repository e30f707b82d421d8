// Measures the program side by side with what one would use instead: `npm run bench -- [--quick] [--only BLOCK[,BLOCK]]`, as root.
// A whole run writes docs/benchmark.md and the plot. With one of the flags they go to a directory outside of the checkout.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { bulk } from "./blocks/bulk.ts";
import { events } from "./blocks/events.ts";
import { idle } from "./blocks/idle.ts";
import { loadInClear, loadOverTls } from "./blocks/load.ts";
import { starts } from "./blocks/start.ts";
import { waves } from "./blocks/waves.ts";
import { endEverythingAtExit, run, temporaryDirectory } from "./machine/processes.ts";
import { type Bench, makeSite } from "./peers/peers.ts";
import { cacheDirectory, requireRoot, requireTools } from "./peers/tools.ts";
import { startUpstreams } from "./peers/upstream.ts";
import { describeMachine, type Section, toPage } from "./report/page.ts";
import { drawConnections } from "./report/plot.ts";
import { judge } from "./requirements.ts";
import type { Row } from "./rows.ts";

type Block = { title: string; measure: (bench: Bench) => Promise<Row[]> };

/** What is measured together: a table each. */
const BLOCKS: Record<string, Block> = {
  tls: { title: "Requests over TLS", measure: loadOverTls },
  clear: { title: "Requests without TLS", measure: loadInClear },
  waves: { title: "1,000 streams at once, over TLS", measure: waves },
  events: { title: "Open streams", measure: events },
  bulk: { title: "Large bodies", measure: bulk },
  idle: { title: "Idle", measure: idle },
  start: { title: "Start", measure: starts },
};
const WHOLE = { rounds: 5, fewRounds: 3, starts: 20, loadSeconds: 1, restSeconds: 60, idleSeconds: 20 };
const QUICK = { rounds: 1, fewRounds: 1, starts: 3, loadSeconds: 0.5, restSeconds: 1, idleSeconds: 3 };
/** Each wait has its own limit. This one is for what nobody thought of. */
const LIMIT_MINUTES = 25;

const USAGE = `npm run bench -- [--quick] [--only BLOCK[,BLOCK]]; blocks: ${Object.keys(BLOCKS).join(", ")}`;
const PROJECT = resolve(import.meta.dir, "..");

endEverythingAtExit();
const limit = setTimeout(
  () => fail(new Error(`not over after ${LIMIT_MINUTES} minutes`)),
  LIMIT_MINUTES * 60_000,
);
await main().catch(fail);
clearTimeout(limit);
process.exit(0);

function fail(error: Error): never {
  console.error(`bench: error: ${error.message}`);
  process.exit(1);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const only = values.only.flatMap((names) => names.split(","));
  const unknown = only.find((name) => !(name in BLOCKS));
  if (unknown !== undefined) throw new Error(`unknown block '${unknown}': ${USAGE}`);
  requireRoot();
  await run([process.execPath, "packaging/build.ts"], { cwd: PROJECT });
  const machine = describeMachine();
  const { absent, versions, ...tools } = await requireTools();
  const directory = temporaryDirectory();
  const site = makeSite(directory, { absent, versions, ...tools });
  const upstreams = await startUpstreams(tools.nginx, directory);
  const pace = values.quick ? QUICK : WHOLE;
  const minutes = clock();
  const sections: Section[] = [];
  for (const [name, { title, measure }] of Object.entries(BLOCKS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    console.error(`${minutes().toFixed(1)} min: ${name}`);
    sections.push({ title, rows: await measure({ ...pace, site, upstreams }) });
  }
  await upstreams.stop();
  const rows = sections.flatMap((section) => section.rows);
  const page = toPage({ minutes: minutes(), rounds: pace, machine, versions, absent, sections });
  const isWhole = !values.quick && only.length === 0;
  await write(isWhole ? PROJECT : join(cacheDirectory(), "trial"), page, drawConnections(rows));
  console.log(judge(rows));
}

async function write(project: string, page: string, plot: string | undefined): Promise<void> {
  const [pageFile, results] = [join(project, "docs/benchmark.md"), join(project, "bench/results")];
  for (const folder of [join(project, "docs"), results]) mkdirSync(folder, { recursive: true });
  writeFileSync(pageFile, page);
  if (plot !== undefined) writeFileSync(join(results, "connections.svg"), plot);
  await run([process.execPath, "fmt", pageFile], { cwd: PROJECT });
  console.log(`written: ${pageFile}\n`);
}

function clock(): () => number {
  const started = performance.now();
  return () => (performance.now() - started) / 60_000;
}
