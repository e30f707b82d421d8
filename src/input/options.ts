// Raw arguments → Options, or a UserError. Nothing is opened, nothing is looked up.

import { resolve } from "../base/paths.ts";
import { LOG_LEVELS, type LogLevel } from "../base/terminal.ts";
import { type Flag, type Given, quote, readFlags, usageError } from "./arguments.ts";
import { parseDuration } from "./durations.ts";
import type { FLAGS } from "./flags.ts";
import { DEFAULT_UPSTREAM_URL, parseUpstreamUrl, portOf } from "./upstream-url.ts";

/** What the user asked for, checked. */
export type Options = Readonly<{
  /** Port to listen on; 0 for a free one. */
  port: number;
  /** Absolute path of the server-info file. */
  serverInfo: string | undefined;
  /** Absolute path of the file the key is read from, in place of standard input. */
  keyFile: string | undefined;
  /** Whether `GET /shutdown` ends the program. */
  httpShutdown: boolean;
  upstreamUrl: URL;
  insecureUpstream: boolean;
  /** The user to run as, a name or a number. */
  user: string | undefined;
  /** Whether every protection must hold. */
  strict: boolean;
  shutdownTimeoutMs: number;
  logLevel: LogLevel;
  logJson: boolean;
  /** Absolute path of the directory that exchanges are dumped to. */
  dumpDir: string | undefined;
}>;

const DEFAULT_SHUTDOWN_TIMEOUT = "10s";
const MAX_SHUTDOWN_TIMEOUT_HOURS = 1;

/** Checks the raw arguments; throws UserError with exit code 2. `help` and `version` go before everything else. */
export function parseOptions(rawArguments: readonly string[]): Options | "help" | "version" {
  const given = readFlags(rawArguments);
  if (given.help) return "help";
  return given.version ? "version" : optionsFrom(given);
}

/** Checks the flags that were given; throws UserError with exit code 2. */
export function optionsFrom(given: Omit<Given<typeof FLAGS>, "help" | "version">): Options {
  const insecureUpstream = given["insecure-upstream"] === true;
  const options = {
    port: parseNumber("port", given.port, 65_535) ?? 0,
    serverInfo: parseWritten("server-info", given["server-info"]),
    keyFile: parsePath("key-file", given["key-file"]),
    httpShutdown: given["http-shutdown"] === true,
    upstreamUrl: parseUpstreamUrl(given["upstream-url"] ?? DEFAULT_UPSTREAM_URL, insecureUpstream),
    insecureUpstream,
    user: given.user,
    strict: given.strict === true,
    shutdownTimeoutMs: parseDuration(
      "shutdown-timeout",
      given["shutdown-timeout"] ?? DEFAULT_SHUTDOWN_TIMEOUT,
      MAX_SHUTDOWN_TIMEOUT_HOURS,
    ),
    logLevel: parseLogLevel(given["log-level"]),
    logJson: given["log-json"] === true,
    dumpDir: parseWritten("dump-dir", given["dump-dir"]),
  };
  refuseUpstreamOnOwnPort(options);
  return Object.freeze(options);
}

/** The arguments that give these options again in any working directory, without the key file: the first start has made it standard input. */
export function toArguments(options: Options): string[] {
  return [
    `--port=${options.port}`,
    ...(options.serverInfo === undefined ? [] : [`--server-info=${options.serverInfo}`]),
    ...(options.httpShutdown ? ["--http-shutdown"] : []),
    `--upstream-url=${options.upstreamUrl.href}`,
    ...(options.insecureUpstream ? ["--insecure-upstream"] : []),
    ...(options.user === undefined ? [] : [`--user=${options.user}`]),
    ...(options.strict ? ["--strict"] : []),
    `--shutdown-timeout=${options.shutdownTimeoutMs}ms`,
    `--log-level=${options.logLevel}`,
    ...(options.logJson ? ["--log-json"] : []),
    ...(options.dumpDir === undefined ? [] : [`--dump-dir=${options.dumpDir}`]),
  ];
}

function parseLogLevel(text = "info"): LogLevel {
  const level = LOG_LEVELS.find((name) => name === text);
  if (level === undefined)
    throw usageError(`--log-level must be one of ${LOG_LEVELS.join(", ")}, got ${quote(text)}`);
  return level;
}

function parseNumber(name: Flag, text: string | undefined, maximum: number): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,5}$/.test(text) || Number(text) > maximum) {
    throw usageError(`--${name} must be a whole number from 0 to ${maximum}, got ${quote(text)}`);
  }
  return Number(text);
}

function parsePath(name: Flag, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (/(^|\/)sk-/.test(text)) {
    throw usageError(`--${name} must name a file, and that looks like a key`, [
      "treat that key as known to others on this host: every user can read arguments",
    ]);
  }
  if (/^~[\w.-]*\//.test(text)) {
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

function parseWritten(name: Flag, text: string | undefined): string | undefined {
  const path = parsePath(name, text);
  // The sandbox leaves the file's directory writable, and these must not be.
  if (path !== undefined && /^\/(dev\/)?[^/]+$/.test(path))
    throw usageError(`--${name} must not be in / or /dev, got ${quote(text!)}`);
  return path;
}

function refuseUpstreamOnOwnPort({ port, upstreamUrl }: Pick<Options, "port" | "upstreamUrl">): void {
  // 127.0.0.1 is where we listen; 127.0.0.2 and [::1] are other addresses.
  const isOurs = upstreamUrl.hostname === "127.0.0.1" || upstreamUrl.hostname === "localhost";
  if (port !== 0 && isOurs && portOf(upstreamUrl) === port) {
    throw usageError("--upstream-url leads back to --port: every request would go in circles");
  }
}
