// What the values of flags must look like: numbers, durations, rates, modes and paths. Nothing is opened, nothing is looked up.

import { resolve } from "../base/paths.ts";
import { type Flag, quote, usageError } from "./arguments.ts";

/** A whole number from `least` to `most`; undefined if the flag was not given. Throws UserError, as all functions here do. */
export function parseNumber(
  name: Flag,
  text: string | undefined,
  least: number,
  most: number,
): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text);
  throw usageError(`--${name} must be a whole number from ${least} to ${most}, got ${quote(text)}`);
}

const MAX_PORT = 65_535;

/** A port to listen on; 0 for a free one. */
export function parsePort(text: string | undefined): number | undefined {
  return parseNumber("port", text, 0, MAX_PORT);
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, "": 1000 };

/** Milliseconds, at most `mostHours` hours. */
export function parseDuration(name: Flag | "max", text: string, mostHours: number): number {
  const [, number, unit = ""] = /^(\d{1,12})(ms|s|m|h)?$/.exec(text) ?? [];
  const milliseconds = Number(number) * UNITS_MS[unit]!;
  if (name === "lifetime" && milliseconds === 0) throw usageError("--lifetime must be longer than 0");
  if (number !== undefined && milliseconds <= mostHours * UNITS_MS["h"]!) return milliseconds;
  throw usageError(`--${name} must be a duration of at most ${mostHours}h, got ${quote(text)}`, [
    "give it as 500ms, 10s, 2m or 1h; a plain number is seconds",
  ]);
}

/** So many in so many milliseconds. */
export type Rate = Readonly<{ count: number; perMs: number }>;

export function parseRate(name: Flag, text: string | undefined): Rate | undefined {
  if (text === undefined) return undefined;
  const [, count, unit] = /^([1-9]\d{0,8})\/([smh])$/.exec(text) ?? [];
  if (count !== undefined) return { count: Number(count), perMs: UNITS_MS[unit!]! };
  throw usageError(`--${name} must be a number of requests per second, minute or hour, got ${quote(text)}`, [
    "give it as 5/s, 60/m or 1000/h",
  ]);
}

/** The permission bits of a file (chmod(1)), in octal. */
export function parseMode(name: Flag, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw usageError(`--${name} must be an octal mode such as 0660, got ${quote(text)}`);
}

/** An absolute path. */
export function parsePath(name: Flag, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (/(^|\/)sk-/.test(text)) {
    throw usageError(`--${name} must name a file, and that looks like a key`, [
      "treat that key as known to others on this host: every user can read arguments",
    ]);
  }
  if (/^~([\w.-]*\/|$)/.test(text)) {
    throw usageError(`--${name} begins with a ~ that the shell has not expanded, got ${quote(text)}`, [
      `the shell expands ~ only at the start of a word: --${name} ~/…, without = and quotes`,
    ]);
  }
  const path = resolve(text);
  if (name === "key-file" && (text === "-" || STANDARD_INPUT.test(path))) {
    throw usageError(`--key-file must name a file, got ${quote(text)}`, [
      "leave --key-file out to read standard input",
    ]);
  }
  if (text === "-" || (text.endsWith("/") && name !== "dump-dir"))
    throw usageError(`--${name} must name a file, got ${quote(text)}`);
  return path;
}

/** What /dev/stdin and a shell's <(…) lead to, which are symlinks to a pipe. */
const STANDARD_INPUT = /^\/(dev\/(stdin|fd\/\d+)|proc\/(self|thread-self|\d+)\/fd\/\d+)$/;

/** An absolute path that the proxy writes to. The sandbox leaves its directory writable, so that must not be / or /dev. */
export function parseWritten(name: Flag, text: string | undefined): string | undefined {
  const path = parsePath(name, text);
  if (path !== undefined && /^\/(dev\/)?[^/]+$/.test(path))
    throw usageError(`--${name} must not be in / or /dev, got ${quote(text!)}`);
  return path;
}

/** sizeof(sun_path) without the NUL (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** A path that a Unix socket can have. */
export function parseSocket(name: Flag, text: string | undefined): string | undefined {
  const path = parseWritten(name, text);
  if (path === undefined || Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  throw usageError(
    `--${name} must have at most ${MAX_SOCKET_PATH_BYTES} bytes as an absolute path, got ${Buffer.byteLength(path)}`,
    ["clients could not connect to a longer one (unix(7))"],
  );
}
