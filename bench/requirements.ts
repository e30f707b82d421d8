// What the program must reach: for those who change it. The run prints which of it is met; docs/benchmark.md, for users, does not say.

import { THREE_LINES } from "./peers/peers.ts";
import { divide, median, type Row, titleOf } from "./rows.ts";

/** In this row the figure is at most, or at least, `limit`; or `limit` times that of the peer `than`. */
type Aim = [row: string, sign: "≤" | "≥", limit: number, than?: string];

const AIMS: readonly Aim[] = [
  ["latency added p50, 1 connection", "≤", 0.35, "codex"],
  ["requests/s, 256 connections", "≥", 4.5, "codex"],
  ["requests/s, 1,024 connections", "≥", 4.5, "codex"],
  ["CPU per request, 32 connections", "≤", 1.1, THREE_LINES],
  ["CPU per request, to that at 32, 256 connections", "≤", 1.3],
  ["CPU per request, to that at 32, 1,024 connections", "≤", 1.3],
  ["copies of the key", "≤", 0],
  ["first byte p50, 1,000 streams at once", "≤", 1, "nginx"],
  ["first byte p99, 1,000 streams at once", "≤", 1.2, "nginx"],
  ["new TLS handshakes, 1,000 more", "≤", 0],
  ["event delay p50, 1 stream", "≤", 2],
  ["event delay p50, 100 streams", "≤", 2],
  ["event delay p50, 1,000 streams", "≤", 5],
  ["event delay p50, 5,000 streams", "≤", 20],
  ["RSS, 5,000 streams", "≤", 0.15, "codex"],
  ["RSS, idle", "≤", 1.3, "codex"],
  ["wake-ups, idle", "≤", 1],
  ["100 MB answer", "≥", 0.8, "codex"],
  ["100 MB upload", "≥", 0.8, "codex"],
  ["start", "≤", 2.5, "codex"],
];

/** Returns a line for each aim. Its figure is the median of the rounds, of their own ratios if it is one; beside it the least and the most. */
export function judge(rows: readonly Row[]): string {
  const lines = AIMS.map(([title, sign, limit, than]) => {
    const aim = `${title}: ${sign} ${limit}${than === undefined ? "" : ` × ${than}`}`;
    const figures = rows.find((row) => titleOf(row) === title)?.figures ?? {};
    const [own, others] = [figures["ours"], than === undefined ? undefined : figures[than]];
    if (!Array.isArray(own) || (than !== undefined && !Array.isArray(others))) return `not measured  ${aim}`;
    const rounds = Array.isArray(others) ? divide(own, others) : own;
    const value = median(rounds);
    const isMet = sign === "≤" ? value <= limit : value >= limit;
    const spread = [value, Math.min(...rounds), Math.max(...rounds)].map((one) => one.toPrecision(3));
    return `${isMet ? "met         " : "MISSED      "}  ${aim}; is ${spread[0]} (${spread[1]}–${spread[2]})`;
  });
  return lines.join("\n");
}
