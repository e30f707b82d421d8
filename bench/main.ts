// Measures the program side by side with what one would use instead: `npm run bench -- [--quick] [--only BLOCK[,BLOCK]]`, as root.
// A whole run, with neither of the flags, replaces the files in bench/results.

import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { bulk } from "./blocks/bulk.ts";
import { events, firstByte } from "./blocks/events.ts";
import { connections, requests, tls } from "./blocks/requests.ts";
import { starts } from "./blocks/start.ts";
import { type Bench, makeSite } from "./peers.ts";
import { drawConnections } from "./plot.ts";
import { endEverythingAtExit, run, temporaryDirectory } from "./processes.ts";
import { describeMachine, toMarkdown, toTable } from "./report.ts";
import { requireRoot, requireTools } from "./requirements.ts";
import type { Row } from "./rows.ts";
import { startUpstreams } from "./upstream.ts";

/** Groups of rows that are measured together. */
const BLOCKS: Record<string, (bench: Bench) => Promise<Row[]>> = {
  requests,
  tls,
  events,
  "first-byte": firstByte,
  bulk,
  start: starts,
  connections,
};
const USAGE = `npm run bench -- [--quick] [--only BLOCK[,BLOCK]]; blocks: ${Object.keys(BLOCKS).join(", ")}`;
const PROJECT = resolve(import.meta.dir, "..");
const RESULTS = join(PROJECT, "bench/results");

endEverythingAtExit();
try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`bench: error: ${(error as Error).message}`);
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
  const minutes = clock();
  const machine = describeMachine();
  const tools = await requireTools();
  const directory = temporaryDirectory();
  const site = makeSite(directory, tools);
  const upstreams = await startUpstreams(tools.nginx, directory);
  const thoroughness = values.quick ? { rounds: 1, seconds: 1 } : { rounds: 3, seconds: 1.5 };
  const rows: Row[] = [];
  for (const [name, measure] of Object.entries(BLOCKS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    console.error(`${minutes().toFixed(1)} min: ${name}`);
    rows.push(...(await measure({ ...thoroughness, site, upstreams })));
  }
  await upstreams.stop();
  console.log(toTable(rows));
  if (only.length > 0 || values.quick) return;
  const { rounds } = thoroughness;
  const report = { minutes: minutes(), rounds, machine, versions: tools.versions, rows };
  writeFileSync(join(RESULTS, "latest.md"), toMarkdown(report));
  writeFileSync(join(RESULTS, "connections.svg"), drawConnections(rows));
  await run([process.execPath, "fmt", RESULTS], { cwd: PROJECT });
}

function clock(): () => number {
  const started = performance.now();
  return () => (performance.now() - started) / 60_000;
}
