// The plot of how cost grows with connections: two panels with logarithmic axes, legible on a light and on a dark background.

import { median, type Row } from "../rows.ts";

const PANEL = { width: 380, height: 260, left: 84, top: 44, gap: 150 };
const WIDTH = 2 * PANEL.width + 2 * PANEL.left + PANEL.gap;
const HEIGHT = PANEL.height + PANEL.top + 56;
const GREY = "#808890";
const COLOURS: Record<string, string> = {
  ours: "#e8590c",
  codex: "#228be6",
  nginx: "#37a34a",
  HAProxy: "#ae5fd0",
};

type Point = { connections: number; value: number; least: number; most: number };
type Line = { name: string; points: Point[] };
type Scale = (value: number) => number;

/** Returns the SVG for the rows that are points of the plot; undefined if there are none. */
export function drawConnections(rows: Row[]): string | undefined {
  const panels = [
    panel("latency p50", rows, PANEL.left),
    panel("CPU per request", rows, 2 * PANEL.left + PANEL.width + PANEL.gap / 2),
  ];
  if (panels.includes("")) return undefined;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="${GREY}">
<title>Latency and CPU per request from 1 to 1,024 connections over TLS</title>
${panels.join("\n")}
</svg>
`;
}

/** Only figures above 0 are on a logarithmic axis: of a short load the kernel may have counted no processor time. */
function linesOf(rows: Row[], title: string): Line[] {
  const of = rows.filter(({ name, connections }) => name === title && connections !== undefined);
  const ordered = of.toSorted((a, b) => a.connections! - b.connections!);
  const lines = Object.keys(COLOURS).map((name) => ({
    name,
    points: ordered.flatMap(({ connections, figures: { [name]: all } }): Point[] =>
      Array.isArray(all) && Math.min(...all) > 0
        ? [
            {
              connections: connections!,
              value: median(all),
              least: Math.min(...all),
              most: Math.max(...all),
            },
          ]
        : [],
    ),
  }));
  return lines.filter(({ points }) => points.length > 0);
}

function panel(title: string, rows: Row[], left: number): string {
  const lines = linesOf(rows, title);
  if (lines.length === 0) return "";
  const all = lines.flatMap(({ points }) => points);
  const counts = [...new Set(all.map(({ connections }) => connections))].sort((a, b) => a - b);
  const low = 10 ** Math.floor(Math.log10(Math.min(...all.map(({ least }) => least))));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...all.map(({ most }) => most))));
  const bottom = PANEL.top + PANEL.height;
  const x = logScale(counts[0]!, counts.at(-1)!, left, left + PANEL.width);
  const y = logScale(low, high, bottom, PANEL.top);
  const decades = Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, n) => low * 10 ** n);
  return [
    `<text x="${left}" y="${PANEL.top - 20}" font-size="14" font-weight="600">${title}, µs</text>`,
    ...decades.map((value) => horizontal(value, y(value), left)),
    ...counts.map((count) => tick(count, x(count), bottom)),
    `<text x="${left + PANEL.width / 2}" y="${bottom + 40}" text-anchor="middle">connections</text>`,
    ...lines.map((line) => spread(line, x, y)),
    ...lines.map((line) => curve(line, x, y)),
    ...labels(lines, y, left + PANEL.width + 8),
  ].join("\n");
}

function logScale(from: number, to: number, start: number, end: number): Scale {
  const length = Math.log(to / from);
  return (value) => start + ((end - start) * Math.log(value / from)) / length;
}

function horizontal(value: number, y: number, left: number): string {
  const line = `<line x1="${left}" y1="${y.toFixed(1)}" x2="${left + PANEL.width}" y2="${y.toFixed(1)}" stroke="${GREY}" stroke-opacity="0.3"/>`;
  return `${line}<text x="${left - 8}" y="${(y + 4).toFixed(1)}" text-anchor="end">${value.toLocaleString("en")}</text>`;
}

function tick(count: number, x: number, bottom: number): string {
  const mark = `<line x1="${x.toFixed(1)}" y1="${bottom}" x2="${x.toFixed(1)}" y2="${bottom + 5}" stroke="${GREY}"/>`;
  return `${mark}<text x="${x.toFixed(1)}" y="${bottom + 20}" text-anchor="middle">${count.toLocaleString("en")}</text>`;
}

function curve({ name, points }: Line, x: Scale, y: Scale): string {
  const path = points.map(({ connections, value }) => at(x(connections), y(value)));
  return `<polyline points="${path.join(" ")}" fill="none" stroke="${COLOURS[name]}" stroke-width="2"/>`;
}

/** The area between the least and the most. */
function spread({ name, points }: Line, x: Scale, y: Scale): string {
  const above = points.map(({ connections, most }) => at(x(connections), y(most)));
  const below = points.map(({ connections, least }) => at(x(connections), y(least)));
  return `<polygon points="${[...above, ...below.reverse()].join(" ")}" fill="${COLOURS[name]}" fill-opacity="0.2"/>`;
}

const at = (x: number, y: number): string => `${x.toFixed(1)},${y.toFixed(1)}`;

/** The names at the ends of the lines, moved apart if they would overlap. */
function labels(lines: Line[], y: Scale, x: number): string[] {
  let lowest = -Infinity;
  return lines
    .map(({ name, points }) => ({ name, at: y(points.at(-1)!.value) }))
    .sort((a, b) => a.at - b.at)
    .map(({ name, at }) => {
      lowest = Math.max(at, lowest + 14);
      return `<text x="${x}" y="${(lowest + 4).toFixed(1)}" fill="${COLOURS[name]}" font-weight="600">${name === "ours" ? "this" : name}</text>`;
    });
}
