// The command line as citty takes it: each flag and each subcommand once, with the sentence that --help shows.

import type { ArgsDef } from "citty";

import { OIDC_FLAGS } from "./oidc/flags.ts";

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
  ...OIDC_FLAGS,
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
  "log-file": {
    type: "string",
    valueHint: "FILE",
    description: "Append the log there; standard error gets only what goes wrong before it serves",
  },
  "dump-dir": {
    type: "string",
    valueHint: "DIR",
    description: "Write every request and answer there, prompts included",
  },
  background: {
    type: "boolean",
    description: "Return once connections are accepted, and print the base URL",
  },
  "exit-with-parent": {
    type: "boolean",
    description: "End when the process that started it ends, as with SIGTERM",
  },
  help: { type: "boolean", alias: "h", description: "Show this help" },
  version: { type: "boolean", alias: "V", description: "Show the version" },
} as const satisfies ArgsDef;

/** Flags that may be given more than once. */
export const REPEATABLE: readonly string[] = ["allow-user"];

const { help: _help, version: _version, ...START_FLAGS } = FLAGS;
const { background: _background, "exit-with-parent": _parent, ...RUN_FLAGS } = START_FLAGS;

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
  run: {
    description: "Start a proxy and run COMMAND with it: run [OPTIONS] -- COMMAND [ARG …]",
    args: {
      ...RUN_FLAGS,
      "no-shim": {
        type: "boolean",
        description: "Leave codex alone (without it, every codex that COMMAND calls uses the proxy)",
      },
      "print-env": {
        type: "boolean",
        description: "Say what COMMAND's environment has, and what other programs need, and exit",
      },
      help: FLAGS.help,
    },
  },
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
  /** What `run` leaves beside COMMAND: nobody calls it. */
  watch: {
    description: "",
    args: {
      shim: { type: "string" },
      "log-json": FLAGS["log-json"],
      help: FLAGS.help,
    },
  },
} as const satisfies Record<string, { description: string; args: ArgsDef }>;

export type CommandName = keyof typeof COMMANDS;

/** The subcommands that a person calls. */
export const publicCommands = (): CommandName[] =>
  (Object.keys(COMMANDS) as CommandName[]).filter((name) => name !== "watch");

export function isCommand(word: string | undefined): word is CommandName {
  return word !== undefined && Object.hasOwn(COMMANDS, word);
}
