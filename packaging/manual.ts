// responses-api-proxy(1): the manual page, in the macros of man(7). Commands and options are those of --help.

import type { ArgDef } from "citty";

import { EXIT } from "../src/base/errors.ts";
import { name as PROGRAM, version } from "../src/base/version.ts";
import { type CommandName, COMMANDS, FLAGS, publicCommands } from "../src/input/flags.ts";

type PublicCommand = Exclude<CommandName, "watch">;

/** In the texts below, `so` is bold and _so_ is in italics. */
const SYNOPSIS: Record<PublicCommand, string> = {
  run: "[_OPTIONS_] `--` _COMMAND_ [_ARG_ …]",
  doctor: "[_OPTIONS_] [`--json`]",
  connect: "`--socket` _PATH_ [`--port` _PORT_]",
  status: "[`--of-user` _USER_] [`--json`] _FILE_",
  wait: "[`--of-user` _USER_] [`--max` _DURATION_] _FILE_",
};

const DESCRIPTION = [
  `\`${PROGRAM}\` reads an OpenAI API key from standard input, keeps it in locked memory, listens on 127.0.0.1, and forwards exactly \`POST /v1/responses\` to one upstream with its own Authorization field. It refuses every other request with status 403. Programs on the same host use the key without being able to read it.`,
  "A flag takes its value as `--flag` _VALUE_ or `--flag=`_VALUE_. A _DURATION_ is a number with the unit ms, s, m or h; a plain number is seconds.",
];

const EXIT_STATUS: Record<keyof typeof EXIT, string> = {
  clean: "The proxy was asked to end, and ended. Of another subcommand than `run`: yes.",
  cannotStart: "The proxy cannot start: the key, the port or a file. Of a subcommand: no.",
  usage: "The command line is wrong.",
  reexec: "The proxy cannot start again with a clean environment, or was not started with one.",
  unprotected: "The key cannot be protected. The message says what does not hold.",
  user: "The proxy cannot become the user that `--user` names.",
  strict: "A protection does not hold, and `--strict` was given.",
  notExecutable: "`run`: _COMMAND_ exists and cannot be executed.",
  notFound: "`run`: _COMMAND_ does not exist.",
  internal: "A bug in the program. Details are withheld, because they may quote what was being handled.",
};

const ENVIRONMENT: [names: string, text: string][] = [
  [
    "`HTTPS_PROXY`, `https_proxy`, `NO_PROXY`, `no_proxy`",
    "The HTTP proxy on the way to the upstream, and the hosts that are reached without it.",
  ],
  [
    "`SSL_CERT_FILE`, `SSL_CERT_DIR`, `NODE_EXTRA_CA_CERTS`",
    "The certificates that decide who is believed to be the upstream.",
  ],
  ["`NO_COLOR`, `FORCE_COLOR`, `TERM`", "Whether messages have colours."],
  ["`NOTIFY_SOCKET`, `JOURNAL_STREAM`", "Set by the service manager; see `systemd.exec`(5)."],
  ["`PATH`, `HOME`, `TZ`, `LANG`, `LANGUAGE`, `LC_*`", "Kept for the runtime. They change nothing else."],
];

const ENVIRONMENT_AROUND = [
  "The process that reads the key is started with these variables of the caller's, and no others:",
  "`run` starts _COMMAND_ with the caller's environment, without the key, and with `OPENAI_BASE_URL`, `OPENAI_API_KEY` (a token for this proxy alone) and what else other programs need. `run --print-env` lists them.",
] as const;

const FILES: [path: string, text: string][] = [
  [
    "`--server-info` _FILE_",
    'One line, {"port":_N_,"pid":_N_}, mode 0644. The proxy writes it once connections are accepted, and removes it at the end.',
  ],
  [
    "`/usr/lib/systemd/system/responses-api-proxy.service`",
    "The unit of the Debian package. Its first lines say how the key becomes an encrypted credential.",
  ],
  ["`/etc/credstore.encrypted/openai-api-key`", "The unit's credential; see `systemd-creds`(1)."],
  ["`/run/responses-api-proxy/server-info.json`", "The unit's server-info file."],
];

const SIGNALS: [names: string, text: string][] = [
  [
    "`SIGTERM`, `SIGINT`, `SIGHUP`",
    "Accept no new request, let exchanges in flight end within `--shutdown-timeout`, and exit with 0; with 1 if the key is still awaited. A second signal ends the proxy at once. `connect` ends at the first one, with its connections, and exits with 0.",
  ],
  ["`SIGUSR1`", "Log the totals so far."],
];

const EXAMPLES: [what: string, lines: string][] = [
  [
    "Run one command with a proxy of its own:",
    "printenv OPENAI_API_KEY | responses-api-proxy run -- codex exec 'Your prompt here'",
  ],
  [
    "Start a proxy that outlives the command, use it, and end it:",
    `printenv OPENAI_API_KEY | env -u OPENAI_API_KEY \\
    responses-api-proxy --background --http-shutdown --server-info "$XDG_RUNTIME_DIR/server-info.json"
url=$(responses-api-proxy wait "$XDG_RUNTIME_DIR/server-info.json")
curl -H 'Content-Type: application/json' -d '{"model":"gpt-5","input":"hi"}' "$url/v1/responses"
curl --fail --silent --show-error "$url/shutdown"`,
  ],
  ["Ask whether every protection would hold here:", "responses-api-proxy doctor --strict"],
];

const SECURITY = [
  "No other user, and no other process of the same user, can read the key from the proxy: its process is not dumpable, and its memory is locked as far as the user may lock memory. A warning names each protection that does not hold. With `--strict` the proxy does not start then.",
  "What it does not do: root reads the key. Every local program can spend it, without limit, unless `--allow-user`, `--client-token`, `--socket` or a budget (`--max-requests`, `--rate`, `--lifetime`) says otherwise. A process of the same user that is there before the proxy can read the key from the environment or the pipe it comes from. The upstream is trusted with the key.",
  "If the user who starts the proxy can read the program's file, another process of that user can open the first start before it is closed. Install it with mode 0711 or 0710, owned by root, as the Debian package does.",
];

const SEE_ALSO = ["capabilities(7)", "landlock(7)", "seccomp(2)", "setcap(8)", "systemd-creds(1)"];

/** Returns the page, for the file responses-api-proxy.1. */
export function manualPage(): string {
  const name = escaped(PROGRAM);
  return [
    String.raw`.\" Made by packaging/manual.ts. Text is in ASCII and escapes; see groff_char(7).`,
    `.TH ${PROGRAM.toUpperCase().replaceAll("-", String.raw`\-`)} 1 "" "${PROGRAM} ${version}" "User Commands"`,
    // Neither hyphenated nor stretched: names of flags stay whole.
    ".nh",
    ".ad l",
    ".SH NAME",
    String.raw`${name} \- let programs use an OpenAI API key without being able to read it`,
    ".SH SYNOPSIS",
    ...synopsis(["", "[_OPTIONS_]"], ...Object.entries(SYNOPSIS)),
    ".SH DESCRIPTION",
    ...paragraphs(DESCRIPTION),
    ".SH COMMANDS",
    ...publicCommands().flatMap((command) => commandLines(command as PublicCommand)),
    ".SH OPTIONS",
    ...Object.entries(FLAGS).flatMap(([flag, arg]) => optionLines(flag, arg)),
    ".SH EXIT STATUS",
    ...Object.entries(EXIT).flatMap(([key, code]) =>
      entry(`\`${code}\``, EXIT_STATUS[key as keyof typeof EXIT]),
    ),
    ...paragraphs(["`run` exits with the exit status of _COMMAND_."]),
    ".SH ENVIRONMENT",
    ...paragraphs([ENVIRONMENT_AROUND[0]]),
    ...ENVIRONMENT.flatMap(([names, text]) => entry(names, text)),
    ...paragraphs([ENVIRONMENT_AROUND[1]]),
    ".SH FILES",
    ...FILES.flatMap(([path, text]) => entry(path, text)),
    ".SH SIGNALS",
    ...SIGNALS.flatMap(([names, text]) => entry(names, text)),
    ".SH EXAMPLES",
    ...EXAMPLES.flatMap(([what, lines]) => [
      ...paragraphs([what]),
      ".PP",
      ".RS 4",
      ".EX",
      ...lines.split("\n").map(escaped),
      ".EE",
      ".RE",
    ]),
    ".SH SECURITY",
    ...paragraphs(SECURITY),
    ".SH SEE ALSO",
    SEE_ALSO.map((page) => marked(page.replace(/^[^(]+/, "`$&`"))).join(",\n"),
    "",
  ].join("\n");
}

function synopsis(...lines: [command: string, rest: string][]): string[] {
  return lines.flatMap(([command, rest], index) => [
    ...(index === 0 ? [] : [".br"]),
    marked(`\`${PROGRAM}${command === "" ? "" : ` ${command}`}\` ${rest}`),
  ]);
}

/** A command with what it does and the options that only it has. */
function commandLines(command: PublicCommand): string[] {
  // Without the synopsis, which stands before it here.
  const sentence = COMMANDS[command].description.replace(/: .*/, "");
  const args: Record<string, ArgDef> = COMMANDS[command].args;
  const isGeneral = ([flag, arg]: [string, ArgDef]): boolean =>
    (FLAGS as Record<string, ArgDef>)[flag] === arg;
  const general = Object.entries(args).filter(isGeneral);
  const own = Object.entries(args).filter((arg) => !isGeneral(arg));
  const without = Object.keys(FLAGS).filter((flag) => args[flag] === undefined);
  const listed = (flags: string[]): string => flags.map((flag) => `\`--${flag}\``).join(", ");
  const takes =
    general.length > without.length
      ? `It takes the options below, except ${listed(without)}.`
      : `Of the options below it takes ${listed(general.map(([flag]) => flag))}.`;
  return [
    ...entry(`\`${command}\` ${SYNOPSIS[command]}`, `${sentence}. ${takes}`),
    ".RS",
    ...own.flatMap(([flag, arg]) => optionLines(flag, arg)),
    ".RE",
  ];
}

function optionLines(flag: string, { type, description = "", valueHint, ...arg }: ArgDef): string[] {
  const letter = "alias" in arg ? `\`-${arg.alias}\`, ` : "";
  const value = valueHint === undefined ? "" : `\`=\`_${valueHint}_`;
  return entry(
    type === "positional" ? "_FILE_" : `${letter}\`--${flag}\`${value}`,
    description.replace(/[^…]$/, "$&."),
  );
}

function entry(term: string, text: string): string[] {
  return [".TP", marked(term), marked(text)];
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap((text) => [".PP", marked(text)]);
}

/** Sets `so` in bold and _so_ in italics. */
function marked(text: string): string {
  return escaped(text)
    .replace(/(?<!\w)_([^_`\s]+)_(?!\w)/g, String.raw`\fI$1\fR`)
    .replace(/`([^`]+)`/g, String.raw`\fB$1\fR`);
}

/** Text that groff shows as it is, one line of it. */
function escaped(text: string): string {
  return text
    .replaceAll("\\", String.raw`\e`)
    .replaceAll("-", String.raw`\-`)
    .replaceAll("'", String.raw`\(aq`)
    .replace(
      /[^\n -~]/gu,
      (letter) => `\\[u${letter.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`,
    )
    .replace(/^\./, String.raw`\&.`);
}
