// The table: as text, as Markdown and as JSON.

import type { Machine } from "./machine.ts";
import type { Row } from "./rows.ts";

export type Report = {
  date: string;
  minutes: number;
  rounds: number;
  machine: Machine;
  versions: Record<string, string>;
  rows: Row[];
};

const COLUMNS = ["direct", "ours", "ours, readable file", "codex", "nginx", "HAProxy"];
const HEAD = ["figure", "unit", ...COLUMNS, "must reach", "is", "reached"];

/** The rows as Markdown; columns are padded, so that it reads as text, too. Why a peer was not measured stands below. */
export function toTable(rows: Row[]): string {
  const used = HEAD.map((name) => !COLUMNS.includes(name) || rows.some((row) => name in row.figures));
  const cells = rows.map((row) => cellsOf(row).filter((_, column) => used[column]));
  const head = HEAD.filter((_, column) => used[column]);
  const widths = head.map((name, column) =>
    Math.max(name.length, ...cells.map((row) => row[column]!.length)),
  );
  const line = (row: string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  const notes = rows.flatMap((row) =>
    Object.entries(row.figures)
      .filter(([, figure]) => typeof figure === "string")
      .map(([peer, reason]) => `- ${row.title}, ${peer}: ${reason}`),
  );
  return [line(head), rule, ...cells.map(line), ...(notes.length > 0 ? ["", ...notes] : [])].join("\n");
}

export function toMarkdown({ date, minutes, rounds, machine, versions, rows }: Report): string {
  const { processor, processors, memoryGB, kernel, load } = machine;
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const grows = rows.filter((row) => row.id.startsWith("connections-"));
  const others = rows.filter((row) => !grows.includes(row));
  const missed = others.flatMap(({ verdicts }) => verdicts).filter(({ reached }) => !reached).length;
  const judged = others.flatMap(({ verdicts }) => verdicts).length;
  return `# Measured side by side

${date}, in ${minutes.toFixed(1)} minutes, on ${processors} × ${processor}, ${memoryGB} GB, Linux ${kernel};
load average before the start ${load.toFixed(1)}.
${programs.join(", ")}.

Figures are medians of ${rounds} rounds or more; in a round every peer is measured once, back to back. A ratio is the median of the rounds'
own ratios. nginx and HAProxy have one worker and one thread; everything is on one machine, load and upstream included. Over TLS
the upstream offers HTTP/1.1 and HTTP/2; all speak HTTP/1.1 to it. A stream that has not begun 5 s after 1,000
were opened at once counts as if it had begun then. The event delay is that of an event sent on all streams at the same moment. Of ${judged} targets ${judged - missed} are reached.

${toTable(others)}

## How cost grows

![latency and CPU per request by connections](connections.svg)

${toTable(grows)}
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

/** A figure with three digits that count, and no more. */
function show(figure: number | string | undefined): string {
  if (figure === undefined) return "";
  if (typeof figure === "string") return "n/a";
  const size = Math.abs(figure);
  if (size >= 1000) return Math.round(figure).toLocaleString("en");
  return figure.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace(/^-?0(\.0+)?$/, "0");
}
