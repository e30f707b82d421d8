// The results for a reader: the table, and the page around it with the machine and how it was measured.

import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

import type { Row } from "./rows.ts";

type Report = {
  minutes: number;
  rounds: number;
  machine: string;
  versions: Record<string, string>;
  rows: Row[];
};

/** Returns two lines; the load average is what else the machine has to do, if this is called before the benchmark starts. */
export function describeMachine(): string {
  const processor = cpus()[0]?.model.trim() ?? "unknown processor";
  const gigabytes = Math.round(totalmem() / 1e9);
  return `${availableParallelism()} × ${processor}, ${gigabytes} GB, Linux ${release()};
load average before the start ${loadavg()[0]!.toFixed(1)}.`;
}

const COLUMNS = ["direct", "ours", "ours, readable file", "codex", "nginx", "HAProxy"];
const HEAD = ["figure", "unit", ...COLUMNS, "must reach", "is", "reached"];

/** Returns the rows as Markdown, padded so that it reads as text, too. Below it is why a peer was not measured. */
export function toTable(rows: Row[]): string {
  const all = rows.map(cellsOf);
  const used = HEAD.map((_, column) => column < 2 || all.some((row) => row[column] !== ""));
  const table = [HEAD, ...all].map((row) => row.filter((_, column) => used[column]));
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const line = (row: string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  const notes = rows.flatMap((row) =>
    Object.entries(row.figures)
      .filter(([, figure]) => typeof figure === "string")
      .map(([peer, reason]) => `- ${row.title}, ${peer}: ${reason}`),
  );
  const [head, ...lines] = table.map(line);
  return [head, rule, ...lines, ...(notes.length > 0 ? ["", ...notes] : [])].join("\n");
}

export function toMarkdown({ minutes, rounds, machine, versions, rows }: Report): string {
  const date = new Date().toISOString().slice(0, 10);
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const [others, points] = [rows.filter(({ point }) => !point), rows.filter(({ point }) => point)];
  const verdicts = others.flatMap((row) => row.verdicts);
  const reached = verdicts.filter((verdict) => verdict.reached).length;
  return `# Measured side by side

${date}, in ${minutes.toFixed(1)} minutes, on ${machine}
${programs.join(", ")}.

Figures are medians of ${rounds} rounds or more; in a round every peer is measured once, back to back. A ratio is the median of the rounds'
own ratios. nginx and HAProxy have one worker and one thread; everything is on one machine, load and upstream included. Over TLS
the upstream offers HTTP/1.1 and HTTP/2; all speak HTTP/1.1 to it. A stream that has not begun 5 s after 1,000
were opened at once counts as if it had begun then. The event delay is that of an event sent on all streams at the same moment. Of ${verdicts.length} targets ${reached} are reached.

${toTable(others)}

## How cost grows

![latency and CPU per request by connections](connections.svg)

${toTable(points)}
`;
}

function cellsOf({ title, unit, figures, verdicts }: Row): string[] {
  return [
    title,
    unit,
    ...COLUMNS.map((name) => show(figures[name])),
    verdicts.map(({ target }) => target).join("; "),
    verdicts.map(({ value }) => value).join("; "),
    verdicts.map(({ reached }) => (reached ? "yes" : "no")).join("; "),
  ];
}

/** Returns the figure with three significant digits. */
function show(figure: number | string | undefined): string {
  if (figure === undefined) return "";
  if (typeof figure === "string") return "n/a";
  const size = Math.abs(figure);
  if (size >= 1000) return Math.round(figure).toLocaleString("en");
  return figure.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace(/^-?0(\.0+)?$/, "0");
}
