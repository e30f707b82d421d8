// Durations on the command line: 500ms, 10s, 2m, 1h, and a plain number for seconds. Pure.

import { type Flag, quote, usageError } from "./arguments.ts";

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, "": 1000 };

/** Milliseconds, at most `mostHours` hours; throws UserError. */
export function parseDuration(name: Flag | "max", text: string, mostHours: number): number {
  const [, number, unit = ""] = /^(\d{1,8})(ms|s|m|h)?$/.exec(text) ?? [];
  const milliseconds = Number(number) * UNITS_MS[unit]!;
  if (number !== undefined && milliseconds <= mostHours * UNITS_MS["h"]!) return milliseconds;
  throw usageError(`--${name} must be a duration of at most ${mostHours}h, got ${quote(text)}`, [
    "give it as 500ms, 10s, 2m or 1h; a plain number is seconds",
  ]);
}
