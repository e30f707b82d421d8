// Raw arguments → Options, or a UserError. Nothing is opened, nothing is looked up.

import { resolve } from "node:path";
import { parseArgs } from "node:util";

import { command } from "./cli.ts";
import { EXIT, UserError } from "./errors.ts";
import { nearest } from "./nearest.ts";

/** What the user asked for, checked. */
export type Options = Readonly<{
  /** Port to listen on; 0 for a free one. */
  port: number;
  /** Absolute path of the server-info file. */
  serverInfo: string | undefined;
  /** Whether `GET /shutdown` ends the program. */
  httpShutdown: boolean;
  upstreamUrl: URL;
  insecureUpstream: boolean;
  requireMlock: boolean;
  shutdownTimeoutMs: number;
}>;

export const DEFAULT_UPSTREAM_URL = "https://api.openai.com/v1/responses";
const DEFAULT_SHUTDOWN_TIMEOUT_SECONDS = 10;
const MAX_SHUTDOWN_TIMEOUT_SECONDS = 3600;

type Flag = keyof typeof flags;
type Given = Partial<Record<Flag, string | true>>;

const flags = command.args as Record<
  | "port"
  | "server-info"
  | "http-shutdown"
  | "upstream-url"
  | "insecure-upstream"
  | "require-mlock"
  | "shutdown-timeout"
  | "help"
  | "version",
  { type: "string" | "boolean" }
>;

/** Checks the raw arguments; throws UserError with exit code 2. `help` and `version` go before everything else. */
export function parseOptions(rawArguments: readonly string[]): Options | "help" | "version" {
  const given = readFlags(rawArguments);
  if (given.help) return "help";
  if (given.version) return "version";
  const insecureUpstream = given["insecure-upstream"] === true;
  const options = {
    port: parseNumber("port", given.port as string | undefined, 65_535) ?? 0,
    serverInfo: parsePath("server-info", given["server-info"] as string | undefined),
    httpShutdown: given["http-shutdown"] === true,
    upstreamUrl: parseUpstreamUrl(
      (given["upstream-url"] as string) ?? DEFAULT_UPSTREAM_URL,
      insecureUpstream,
    ),
    insecureUpstream,
    requireMlock: given["require-mlock"] === true,
    shutdownTimeoutMs:
      1000 *
      (parseNumber("shutdown-timeout", given["shutdown-timeout"] as string, MAX_SHUTDOWN_TIMEOUT_SECONDS) ??
        DEFAULT_SHUTDOWN_TIMEOUT_SECONDS),
  };
  refuseUpstreamOnOwnPort(options);
  return Object.freeze(options);
}

/** The arguments that give these options again, from whatever working directory. */
export function toArguments(options: Options): string[] {
  return [
    `--port=${options.port}`,
    ...(options.serverInfo === undefined ? [] : [`--server-info=${options.serverInfo}`]),
    ...(options.httpShutdown ? ["--http-shutdown"] : []),
    `--upstream-url=${options.upstreamUrl.href}`,
    ...(options.insecureUpstream ? ["--insecure-upstream"] : []),
    ...(options.requireMlock ? ["--require-mlock"] : []),
    `--shutdown-timeout=${options.shutdownTimeoutMs / 1000}`,
  ];
}

/** Whether a URL's host can only be this machine. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/**
 * citty takes unknown flags, extra words and missing values without complaint (0.2.2), so the arguments are read by
 * node:util's parseArgs and every token is judged here.
 */
function readFlags(rawArguments: readonly string[]): Given {
  const { tokens } = parseArgs({
    args: [...rawArguments],
    options: Object.fromEntries(Object.entries(flags).map(([name, { type }]) => [name, { type }])),
    strict: false,
    tokens: true,
  });
  const given: Given = {};
  for (const token of tokens) {
    if (token.kind === "positional") throw unexpectedWord(token.value);
    if (token.kind === "option-terminator") throw unexpectedWord("--");
    if (!token.rawName.startsWith("--") || !Object.hasOwn(flags, token.name))
      throw unknownFlag(token.rawName);
    const name = token.name as Flag;
    if (given[name] !== undefined) throw usageError(`--${name} is given more than once`);
    given[name] = flags[name].type === "boolean" ? readSwitch(name, token) : readValue(name, token);
  }
  return given;
}

type OptionToken = { value?: string | undefined; inlineValue?: boolean | undefined };

function readSwitch(name: Flag, { value }: OptionToken): true {
  if (value !== undefined) throw usageError(`--${name} takes no value, got ${quote(value)}`);
  return true;
}

function readValue(name: Flag, { value, inlineValue }: OptionToken): string {
  const isNextFlag = !inlineValue && value?.startsWith("-");
  if (value === undefined || value === "" || isNextFlag) throw usageError(`--${name} needs a value`);
  return value;
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
  if (text.endsWith("/")) throw usageError(`--${name} must name a file, got ${quote(text)}`);
  return resolve(text);
}

/** User info is refused because a URL shows in ps(1), and its message quotes nothing for the same reason. */
function parseUpstreamUrl(text: string, insecureUpstream: boolean): URL {
  const url = URL.parse(text);
  // The URL parser forgives blanks and a missing "//"; what is typed here must be what is meant.
  if (url === null || !/^https?:\/\/[^\s\\]+$/i.test(text)) {
    const hints = [`the default is ${DEFAULT_UPSTREAM_URL}`];
    if (/^[\w.-]+(:\d+)?(\/|$)/.test(text)) hints.unshift(`try --upstream-url=https://${text}`);
    throw usageError(
      `--upstream-url must be an absolute https URL, got ${quote(withoutUserInfo(text))}`,
      hints,
    );
  }
  if (url.username !== "" || url.password !== "") {
    throw usageError("--upstream-url must not contain user info", ["the key is read from standard input"]);
  }
  if (text.includes("#")) throw usageError(`--upstream-url must not contain a fragment, got ${quote(text)}`);
  if (url.protocol === "http:" && !isLoopback(url) && !insecureUpstream) {
    throw usageError(`--upstream-url must be https, got ${quote(text)}`, [
      "plain http to a host that is not loopback shows the key to the network; --insecure-upstream allows it",
    ]);
  }
  return url;
}

function refuseUpstreamOnOwnPort({ port, upstreamUrl }: Pick<Options, "port" | "upstreamUrl">): void {
  if (port !== 0 && isLoopback(upstreamUrl) && upstreamUrl.port === String(port)) {
    throw usageError("--upstream-url leads back to --port: every request would go in circles");
  }
}

function unknownFlag(flag: string): UserError {
  const suggestion = nearest(
    flag,
    Object.keys(flags).map((name) => `--${name}`),
  );
  return usageError(
    `unknown flag ${quote(flag)}`,
    suggestion === undefined ? [] : [`did you mean ${suggestion}?`],
  );
}

function unexpectedWord(word: string): UserError {
  // The commonest mistake of all, and the one word that must not be repeated on a terminal.
  if (/^(sk-|Bearer)/i.test(word)) {
    return usageError("the key must not be an argument: every user can read those", [
      "pipe it in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy",
      "treat that key as known to others on this host",
    ]);
  }
  return usageError(`unexpected argument ${quote(word)}`);
}

function usageError(
  message: string,
  hints: readonly string[] = ["responses-api-proxy --help shows all flags"],
) {
  return new UserError(message, EXIT.usage, hints);
}

function withoutUserInfo(text: string): string {
  return text.replace(/\/\/[^/]*@/, "//…@");
}

function quote(text: string): string {
  return `'${text.length > 200 ? `${text.slice(0, 200)}…` : text}'`;
}
