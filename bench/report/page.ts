// docs/benchmark.md: how it was measured, the tables, what each row means, and what the figures do not say.

import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

import { PEERS, THREE_LINES } from "../peers/peers.ts";
import { median, type Row, titleOf } from "../rows.ts";
import { MEANINGS } from "./meanings.ts";

export type Section = { title: string; rows: Row[] };

type Report = {
  minutes: number;
  rounds: { rounds: number; fewRounds: number; starts: number };
  machine: string;
  versions: Record<string, string>;
  absent: Map<string, string>;
  sections: Section[];
};

/** The load average is what else the machine has to do, if this is called before the benchmark starts. */
export function describeMachine(): string {
  const processor = cpus()[0]?.model.trim() ?? "unknown processor";
  const gigabytes = Math.round(totalmem() / 1e9);
  const load = loadavg()[0]!.toFixed(1);
  return `${availableParallelism()} × ${processor}, ${gigabytes} GB, Linux ${release()}, load average before the start ${load}`;
}

export function toPage({ minutes, rounds, machine, versions, absent, sections }: Report): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const { rounds: most, fewRounds: fewest, starts } = rounds;
  return `# Measured side by side

The program beside what one would use in its place. \`npm run bench\` measures all of it in one run and writes this page.

- **When and where**: ${new Date().toISOString().slice(0, 10)}, in ${minutes.toFixed(0)} minutes, on ${machine}.
- **Versions**: ${programs.join(", ")}.
- **Figures**: the median of ${fewest === most ? most : `${fewest} or ${most}`} rounds (${starts} for a start), and in brackets the least and the most of them. In a round every peer is measured
  once, in turns, and each round begins with another peer.
- **direct**: the same client and upstream without a proxy. **codex**: \`codex responses-api-proxy\`. **gateway**: \`@portkey-ai/gateway\` on Node.js.
- Everything runs on one machine: load, proxy and upstream. The upstream is nginx, and a program on Bun for streams and large bodies. Over TLS
  it offers HTTP/1.1 and HTTP/2.
${[...absent].map(([peer, reason]) => `- **${peer}** was not measured: ${reason}.\n`).join("")}
![latency and CPU per request from 1 to 1,024 connections over TLS](../bench/results/connections.svg)

The area around a line is between the least and the most.

${sections.map(toSection).join("\n")}
## What the figures do not say

- Fewer processors than programs: requests/s are what the load, the proxy and the upstream reach together. Processor time per request says more
  about the proxy.
- nginx and HAProxy have one worker with one thread, as the program has one that handles requests. Both can have more. Their configuration has the
  key in clear, and none of them protects it from its own user.
- The gateway does more: it reads each request, and sends it to one of many services. It holds no key here; the client sends it.
- The program locks its memory, so what a burst took is not given back.
${threeLinesRemark(sections)}`;
}

function threeLinesRemark(sections: Section[]): string {
  const rows = sections.flatMap(({ rows }) => rows);
  const row = rows.find(({ name, figures }) => name === "CPU per request" && THREE_LINES in figures);
  const figure = row?.figures[THREE_LINES];
  if (row === undefined || !Array.isArray(figure)) return "";
  return `- A program of three lines, \`Bun.serve\` that returns \`fetch\`, takes ${show(figure)} µs of processor time per request at ${row.at}
  over TLS. That much of the program's is the runtime's.
`;
}

/** Padded, so that it reads as text, too. Below the table is what its rows mean, and why a peer was not measured. */
function toSection({ title, rows }: Section): string {
  const shown = rows.filter(({ onlyPlotted }) => !onlyPlotted);
  const peers = PEERS.filter((peer) => shown.some(({ figures }) => Array.isArray(figures[peer])));
  const table = [["", "unit", ...peers], ...shown.map((row) => cellsOf(row, peers))];
  const widths = table[0]!.map((_, column) => Math.max(3, ...table.map((row) => row[column]!.length)));
  const line = (row: string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  const [head, ...lines] = table.map(line);
  const names = [...new Set(shown.map(({ name }) => name))];
  return `## ${title}

${[head, rule, ...lines].join("\n")}

${[...names.map((name) => `- **${name}**: ${MEANINGS[name]}.`), ...notesOf(shown)].join("\n")}
`;
}

/** Returns why figures are missing, once for each peer and reason. */
function notesOf(rows: Row[]): string[] {
  const missing = new Map<string, string[]>();
  for (const row of rows) {
    for (const [peer, reason] of Object.entries(row.figures)) {
      if (Array.isArray(reason) || !PEERS.includes(peer)) continue;
      const key = `${peer}: ${reason}`;
      missing.set(key, [...(missing.get(key) ?? []), titleOf(row)]);
    }
  }
  return [...missing].map(([why, titles]) => {
    const where = titles.length === rows.length ? "" : ` (${titles.join("; ")})`;
    return `- Not measured, ${why}${where}.`;
  });
}

function cellsOf(row: Row, peers: readonly string[]): string[] {
  return [titleOf(row), row.unit, ...peers.map((peer) => show(row.figures[peer]))];
}

/** Returns the median, and the least and the most if they differ. */
function show(rounds: number[] | string | undefined): string {
  if (rounds === undefined) return "";
  if (typeof rounds === "string") return "n/a";
  const [middle, least, most] = [median(rounds), Math.min(...rounds), Math.max(...rounds)].map(digits);
  return least === most ? middle! : `${middle} (${least}–${most})`;
}

/** Returns the figure with three significant digits. */
function digits(figure: number): string {
  const size = Math.abs(figure);
  if (size >= 1000) return Math.round(figure).toLocaleString("en");
  return figure.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace(/^-?0(\.0+)?$/, "0");
}
