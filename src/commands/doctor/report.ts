// What doctor found, as lines for a person and as JSON for a program. Pure.

import { styleText } from "node:util";

import { printable } from "../../base/terminal.ts";
import { version } from "../../base/version.ts";
import { addressOf } from "../../input/upstream-url.ts";
import type { ProtectionId } from "../../lockdown/protections.ts";

type Status = "ok" | "warning" | "fatal";

export type Check = Readonly<{
  /** `start`: a step that ends the start. The others stand for themselves. */
  id: ProtectionId | "start" | "port" | "environment" | "options" | "id-token" | "access-token" | "upstream";
  status: Status;
  found: string;
  /** What to do about it; undefined if there is nothing to do. */
  advice?: string | undefined;
  /** Whether --strict would refuse to start because of it. */
  isStrict?: boolean;
}>;

type Report = { upstreamUrl: URL; uid: number; checks: readonly Check[] };

const WIDTH = 80;
const INDENT = " ".repeat(20);
const MARKS: Record<Status, [mark: string, colour: "green" | "yellow" | "red"]> = {
  ok: ["✓", "green"],
  warning: ["!", "yellow"],
  fatal: ["✗", "red"],
};

/** What follows: whether the proxy would start, so and with --strict, and whether it would reach its upstream. */
export function conclude(checks: readonly Check[]): {
  starts: boolean;
  startsStrictly: boolean;
  reachesUpstream: boolean;
} {
  const isFatal = ({ status }: Check): boolean => status === "fatal";
  const starts = !checks.some((check) => isFatal(check) && check.id !== "upstream");
  return {
    starts,
    startsStrictly: starts && !checks.some(({ isStrict }) => isStrict),
    reachesUpstream: checks.some((check) => check.id === "upstream" && !isFatal(check)),
  };
}

/** One object on one line. */
export function toJson({ upstreamUrl, uid, checks }: Report): string {
  const list = checks.map(({ id, status, found, advice }) => ({ id, status, found, advice: advice ?? null }));
  const report = { version, uid, upstream: addressOf(upstreamUrl), ...conclude(checks), checks: list };
  return printable(JSON.stringify(report));
}

/** Lines of at most 80 columns, except words that are longer. */
export function toLines({ upstreamUrl, uid, checks }: Report, hasColours: boolean): string {
  const paint = (colour: "green" | "yellow" | "red", text: string): string =>
    hasColours ? styleText(colour, text, { validateStream: false }) : text;
  const lines = wrap(`responses-api-proxy ${version}, for user ${uid} and ${addressOf(upstreamUrl)}`, WIDTH);
  lines.push("");
  for (const { id, status, found, advice } of checks) {
    const [mark, colour] = MARKS[status];
    const [first, ...rest] = wrap(found, WIDTH - INDENT.length);
    lines.push(`  ${paint(colour, mark)} ${id.padEnd(INDENT.length - 4)}${first}`);
    lines.push(...rest.map((line) => INDENT + line));
    if (advice === undefined) continue;
    const [todo, ...more] = wrap(advice, WIDTH - INDENT.length - 2);
    lines.push(`${INDENT}→ ${todo}`, ...more.map((line) => `${INDENT}  ${line}`));
  }
  return [...lines, "", ...summary(checks)].join("\n");
}

function summary(checks: readonly Check[]): string[] {
  const { starts, startsStrictly, reachesUpstream } = conclude(checks);
  if (!starts) return ["The proxy would not start here: see ✗."];
  const strict = checks.filter(({ isStrict }) => isStrict).map(({ id }) => id);
  const text = startsStrictly
    ? "The proxy would start here, and with --strict, too"
    : `The proxy would start here; with --strict it would not (${strict.join(", ")})`;
  return wrap(reachesUpstream ? `${text}.` : `${text}; but it would not reach its upstream: see ✗.`, WIDTH);
}

function wrap(text: string, width: number): string[] {
  return Bun.wrapAnsi(printable(text), width, { hard: false, wordWrap: true }).split("\n");
}
