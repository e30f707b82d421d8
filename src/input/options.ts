// Raw arguments → Options, or a UserError. Nothing is opened, nothing is looked up.

import { LOG_LEVELS, type LogLevel } from "../base/terminal.ts";
import { type Given, quote, readFlags, usageError } from "./arguments.ts";
import type { FLAGS } from "./flags.ts";
import { type GitHubOidc, oidcArguments, parseGitHubOidc } from "./oidc/options.ts";
import { DEFAULT_UPSTREAM_URL, parseUpstreamUrl, portOf } from "./upstream-url.ts";
import {
  parseDuration,
  parseMode,
  parseNumber,
  parsePath,
  parsePort,
  parseRate,
  parseSocket,
  parseWritten,
  type Rate,
} from "./values.ts";

/** What the user asked for, checked. Users and groups are names or numbers. */
export type Options = Readonly<{
  /** Port to listen on; 0 for a free one, undefined for none. */
  port: number | undefined;
  /** Absolute path of the Unix socket to listen on. */
  socket: string | undefined;
  socketMode: number;
  socketGroup: string | undefined;
  /** The users whose TCP connections are served; all if there is none. */
  allowUsers: readonly string[];
  /** Absolute path of the client token's file. */
  clientToken: string | undefined;
  clientTokenGroup: string | undefined;
  maxRequests: number | undefined;
  maxConcurrent: number | undefined;
  rate: Rate | undefined;
  lifetimeMs: number | undefined;
  /** Absolute path of the server-info file. */
  serverInfo: string | undefined;
  /** Absolute path of the file the key is read from, in place of standard input. */
  keyFile: string | undefined;
  /** Where tokens in place of a key come from. */
  githubOidc: GitHubOidc | undefined;
  /** Whether `GET /shutdown` ends the program. */
  httpShutdown: boolean;
  upstreamUrl: URL;
  insecureUpstream: boolean;
  /** The user to run as. */
  user: string | undefined;
  /** Whether every protection must hold. */
  strict: boolean;
  shutdownTimeoutMs: number;
  logLevel: LogLevel;
  logJson: boolean;
  /** Absolute path of the file that the log is appended to, in place of standard error. */
  logFile: string | undefined;
  /** Absolute path of the directory that exchanges are dumped to. */
  dumpDir: string | undefined;
  /** Whether the start returns once connections are accepted. */
  background: boolean;
  /** Whether the program ends when its parent does. */
  exitWithParent: boolean;
}>;

const DEFAULT_SHUTDOWN_TIMEOUT = "10s";
const MAX_SHUTDOWN_TIMEOUT_HOURS = 1;
const MAX_LIFETIME_HOURS = 8760;
const DEFAULT_SOCKET_MODE = 0o600;
const MAX_COUNT = 1_000_000_000;

/** Checks the raw arguments; throws UserError with exit code 2. `help` and `version` go before everything else. */
export function parseOptions(rawArguments: readonly string[]): Options | "help" | "version" {
  const given = readFlags(rawArguments);
  if (given.help) return "help";
  return given.version ? "version" : optionsFrom(given);
}

/** Checks the flags that were given; throws UserError with exit code 2. */
export function optionsFrom(given: Omit<Given<typeof FLAGS>, "help" | "version">): Options {
  const insecureUpstream = given["insecure-upstream"] === true;
  const socket = parseSocket("socket", given.socket);
  const options = {
    port: parsePort(given.port) ?? (socket === undefined ? 0 : undefined),
    socket,
    socketMode: parseMode("socket-mode", given["socket-mode"]) ?? DEFAULT_SOCKET_MODE,
    socketGroup: given["socket-group"],
    allowUsers: given["allow-user"] ?? [],
    clientToken: parseWritten("client-token", given["client-token"]),
    clientTokenGroup: given["client-token-group"],
    maxRequests: parseNumber("max-requests", given["max-requests"], 1, MAX_COUNT),
    maxConcurrent: parseNumber("max-concurrent", given["max-concurrent"], 1, MAX_COUNT),
    rate: parseRate("rate", given.rate),
    lifetimeMs:
      given.lifetime === undefined
        ? undefined
        : parseDuration("lifetime", given.lifetime, MAX_LIFETIME_HOURS),
    serverInfo: parseWritten("server-info", given["server-info"]),
    keyFile: parsePath("key-file", given["key-file"]),
    githubOidc: parseGitHubOidc(given),
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
    logFile: parseWritten("log-file", given["log-file"]),
    dumpDir: parseWritten("dump-dir", given["dump-dir"]),
    background: given.background === true,
    exitWithParent: given["exit-with-parent"] === true,
  };
  refuseUpstreamOnOwnPort(options);
  refuseContradictions(options, given);
  return Object.freeze(options);
}

/** The arguments that give these options again in any working directory, without the key file: the first start has made it standard input. */
export function toArguments(options: Options): string[] {
  const { rate, lifetimeMs } = options;
  const values: Record<string, string | number | undefined> = {
    port: options.port,
    socket: options.socket,
    "socket-mode": options.socket === undefined ? undefined : options.socketMode.toString(8).padStart(3, "0"),
    "socket-group": options.socketGroup,
    "client-token": options.clientToken,
    "client-token-group": options.clientTokenGroup,
    "max-requests": options.maxRequests,
    "max-concurrent": options.maxConcurrent,
    rate:
      rate === undefined
        ? undefined
        : `${rate.count}/${rate.perMs === 1000 ? "s" : rate.perMs === 60_000 ? "m" : "h"}`,
    lifetime: lifetimeMs === undefined ? undefined : `${lifetimeMs}ms`,
    "server-info": options.serverInfo,
    "upstream-url": options.upstreamUrl.href,
    user: options.user,
    "shutdown-timeout": `${options.shutdownTimeoutMs}ms`,
    "log-level": options.logLevel,
    "log-file": options.logFile,
    "dump-dir": options.dumpDir,
  };
  const switches = {
    "http-shutdown": options.httpShutdown,
    "insecure-upstream": options.insecureUpstream,
    strict: options.strict,
    "log-json": options.logJson,
    background: options.background,
    "exit-with-parent": options.exitWithParent,
  };
  return [
    ...Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`])),
    ...options.allowUsers.map((user) => `--allow-user=${user}`),
    ...oidcArguments(options.githubOidc),
    ...Object.entries(switches).flatMap(([name, isOn]) => (isOn ? [`--${name}`] : [])),
  ];
}

function parseLogLevel(text = "info"): LogLevel {
  const level = LOG_LEVELS.find((name) => name === text);
  if (level === undefined)
    throw usageError(`--log-level must be one of ${LOG_LEVELS.join(", ")}, got ${quote(text)}`);
  return level;
}

function refuseUpstreamOnOwnPort({ port, upstreamUrl }: Pick<Options, "port" | "upstreamUrl">): void {
  // The proxy listens on 127.0.0.1; 127.0.0.2 and [::1] are other addresses.
  const isOwn = upstreamUrl.hostname === "127.0.0.1" || upstreamUrl.hostname === "localhost";
  if (port && isOwn && portOf(upstreamUrl) === port) {
    throw usageError("--upstream-url leads back to --port: every request would go in circles");
  }
}

/** Flags that would have no effect, or not the one that was meant. */
function refuseContradictions(options: Options, given: Given<typeof FLAGS>): void {
  for (const name of ["socket-mode", "socket-group"] as const)
    if (given[name] !== undefined && options.socket === undefined)
      throw usageError(`--${name} requires --socket`);
  if (options.clientTokenGroup !== undefined && options.clientToken === undefined)
    throw usageError("--client-token-group requires --client-token");
  if (options.allowUsers.length > 0 && options.port === undefined)
    throw usageError(
      "--allow-user is for TCP: who may connect to --socket is decided by its mode and group",
      ["give --port, too, or leave --allow-user out"],
    );
  if (options.background && options.exitWithParent)
    throw usageError("--background and --exit-with-parent contradict each other: the start's process ends");
  const { socket, clientToken, serverInfo, keyFile, logFile, dumpDir } = options;
  const paths = [socket, clientToken, serverInfo, keyFile, logFile, dumpDir].filter(
    (path) => path !== undefined,
  );
  if (new Set(paths).size < paths.length)
    throw usageError(
      "--socket, --client-token, --server-info, --key-file, --log-file and --dump-dir must be different",
    );
}
