// The command line as citty takes it: each flag and each subcommand once, with the sentence that --help shows.

import type { ArgsDef } from "citty";

import { BUILT_FOR } from "../../native/ffi/architecture.ts";
import { description } from "../../package.json" with { type: "json" };
import { name, version } from "../base/version.ts";

/** Every flag, with the sentence that --help shows. */
export const FLAGS = {
  port: { type: "string", valueHint: "PORT", description: "Port on 127.0.0.1 (default: 0, a free one)" },
  socket: {
    type: "string",
    valueHint: "PATH",
    description: "Listen on a Unix socket there; on TCP only if --port is given, too",
  },
  "socket-mode": { type: "string", valueHint: "MODE", description: "Who may connect to it (default: 0600)" },
  "socket-group": { type: "string", valueHint: "GROUP", description: "Its group" },
  "allow-user": {
    type: "string",
    valueHint: "NAME|UID",
    description: "Serve this user's connections to the port, and no others; may be repeated",
  },
  "client-token": {
    type: "string",
    valueHint: "FILE",
    description: "Write a new token there, and serve only clients that send it as their key",
  },
  "client-token-group": { type: "string", valueHint: "GROUP", description: "Let this group read that file" },
  "max-requests": { type: "string", valueHint: "N", description: "Refuse all requests after so many" },
  "max-concurrent": {
    type: "string",
    valueHint: "N",
    description: "Refuse requests beyond so many at a time",
  },
  rate: { type: "string", valueHint: "N/UNIT", description: "Refuse requests beyond 5/s, 60/m, 1000/h, …" },
  lifetime: { type: "string", valueHint: "DURATION", description: "End after this time, as with SIGTERM" },
  "server-info": {
    type: "string",
    valueHint: "FILE",
    description: 'Write {"port":N,"pid":N} there once connections are accepted',
  },
  "key-file": {
    type: "string",
    valueHint: "FILE",
    description: "Read the key there, not from standard input",
  },
  "http-shutdown": { type: "boolean", description: "Let any client end the proxy with GET /shutdown" },
  "upstream-url": {
    type: "string",
    valueHint: "URL",
    description: "Where requests go (default: https://api.openai.com/v1/responses)",
  },
  "insecure-upstream": {
    type: "boolean",
    description: "Allow plain http to a host that is not loopback: the key travels unencrypted",
  },
  user: {
    type: "string",
    valueHint: "NAME|UID",
    description: "Drop root and run as this user",
  },
  strict: { type: "boolean", description: "Refuse to start if any protection does not hold" },
  "shutdown-timeout": {
    type: "string",
    valueHint: "DURATION",
    description: "How long exchanges in flight may take to end: 500ms, 10s, 2m, 1h (default: 10s)",
  },
  "log-level": {
    type: "string",
    valueHint: "LEVEL",
    description: "silent, error, warn, info or debug: a line per exchange (default: info)",
  },
  "log-json": { type: "boolean", description: "Log JSON, one object per line" },
  "dump-dir": {
    type: "string",
    valueHint: "DIR",
    description: "Write every request and answer there, prompts included",
  },
  help: { type: "boolean", alias: "h", description: "Show this help" },
  version: { type: "boolean", alias: "V", description: "Show the version" },
} as const satisfies ArgsDef;

/** Flags that may be given more than once. */
export const REPEATABLE: readonly string[] = ["allow-user"];

const { help: _help, version: _version, ...START_FLAGS } = FLAGS;

const JSON_FLAG = { type: "boolean", description: "Print one JSON object" } as const;
const SERVER_INFO = {
  type: "positional",
  description: "The file that --server-info named at the proxy's start",
} as const;

const OF_USER = {
  type: "string",
  valueHint: "NAME|UID",
  description: "Also believe a file that this user owns (default: root's and your own)",
} as const;

/** The subcommands: `responses-api-proxy <name> …`. */
export const COMMANDS = {
  doctor: {
    description: "Try a start with these options, without a key, and say what holds",
    args: { ...START_FLAGS, json: JSON_FLAG, help: FLAGS.help },
  },
  connect: {
    description: "Listen on 127.0.0.1 and join each connection to a proxy's --socket; has no key",
    args: {
      socket: { type: "string", valueHint: "PATH", description: "The proxy's socket" },
      port: FLAGS.port,
      help: FLAGS.help,
    },
  },
  status: {
    description: "Say whether that proxy is alive",
    args: { "server-info": SERVER_INFO, "of-user": OF_USER, json: JSON_FLAG, help: FLAGS.help },
  },
  wait: {
    description: "Wait until that proxy is ready, then print its base URL",
    args: {
      "server-info": SERVER_INFO,
      "of-user": OF_USER,
      max: {
        type: "string",
        valueHint: "DURATION",
        description: "How long at most: 500ms, 10s, 2m, 1h (default: 30s)",
      },
      help: FLAGS.help,
    },
  },
} as const satisfies Record<string, { description: string; args: ArgsDef }>;

export type CommandName = keyof typeof COMMANDS;

export function isCommand(word: string | undefined): word is CommandName {
  return word !== undefined && Object.hasOwn(COMMANDS, word);
}

/** The text of `<command> --help`, without colours. */
export async function commandUsage(command: CommandName): Promise<string> {
  const { defineCommand, renderUsage } = await import("citty");
  const { description: sentence, args } = COMMANDS[command];
  const meta = { name: `${name} ${command}`, version, description: sentence };
  return plain(await renderUsage(defineCommand({ meta, args: args as ArgsDef })));
}

/** The text of --help, without colours. */
export async function usage(): Promise<string> {
  // Imported lazily: each start of the proxy starts the program twice and needs no help text.
  const { defineCommand, renderUsage } = await import("citty");
  const subCommands = Object.fromEntries(
    Object.entries(COMMANDS).map(([command, { description: sentence, args }]) => [
      command,
      defineCommand({ meta: { name: command, description: sentence }, args }),
    ]),
  );
  const command = defineCommand({ meta: { name, version, description }, args: FLAGS, subCommands });
  const names = Object.keys(COMMANDS).join("|");
  return [
    // citty shows a subcommand as if one had to be given.
    plain(await renderUsage(command)).replace(` ${names}`, `\n      ${name} ${names} …`),
    "",
    "The key is read from standard input:",
    "",
    "  printenv OPENAI_API_KEY | env -u OPENAI_API_KEY \\",
    "    responses-api-proxy --server-info FILE",
  ].join("\n");
}

/** The text of --version. */
export function versionLine(): string {
  return `${name} ${version} (Bun ${Bun.version}, ${BUILT_FOR})`;
}

/** Without colours, and wrapped for a terminal of 80 columns: a line goes on in its own column. */
function plain(text: string): string {
  const lines = Bun.stripANSI(text).trimEnd().split("\n");
  return lines.flatMap((line) => wrap(line.trimEnd())).join("\n");
}

function wrap(line: string): string[] {
  const column = /^(?: *\S.*? {2,}| +)(?=\S)/.exec(line)?.[0].length ?? 0;
  const end = line.length <= COLUMNS ? -1 : line.lastIndexOf(" ", COLUMNS);
  if (end <= column) return [line];
  return [line.slice(0, end), ...wrap(" ".repeat(column) + line.slice(end + 1))];
}

const COLUMNS = 80;
