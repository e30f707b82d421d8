// Everything that is shown to a person goes through here. The rules:
// - `responses-api-proxy: error: <lower case, no full stop>`, then `responses-api-proxy: hint: <an action>`, a line each.
// - Flags are named as typed, the user's words are quoted, a failed system call is named with its reason.
// - Nothing that came from standard input, from a header or from a body.
// - In the journal (systemd-journald), a line has its priority instead of the program's name, which the journal adds.
// - One message is one line: control characters are escaped, so that no text forges a line or moves the cursor.

// Not consola/basic, which opens process.stdout and process.stderr at once (docs/bun.md).
import { type ConsolaInstance, createConsola, LogLevels } from "consola/core";

import { isTerminal } from "../../native/files/descriptors.ts";
import { statusOf, writeAll } from "../../native/files/files.ts";
import { causeOf, UserError } from "./errors.ts";
import { Sink } from "./sink.ts";

const sink = new Sink((count) =>
  say("warn", `${count} lines were not written: nobody read them, or the disk was full`, {
    event: "lost",
    count,
  }),
);

/** Whether that is the journal. */
let isJournal = false;

/** From the fewest lines to the most. */
export const LOG_LEVELS = ["silent", "error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How much is said, and how: lines of text, or one JSON object a line. */
type Style = { logLevel: LogLevel; logJson: boolean };
let style: Style = { logLevel: "info", logJson: false };

const CONSOLA_LEVELS = {
  silent: LogLevels.silent,
  error: LogLevels.error,
  warn: LogLevels.warn,
  info: LogLevels.info,
  debug: LogLevels.debug,
} as const;

/** Named values of a line, for --log-json; `event` is the kind of line. */
export type Fields = Readonly<Record<string, unknown>>;

// The level is set because consola otherwise takes it from the environment (NODE_ENV=test hides everything but errors). Throttling is off
// because it would merge repeated lines.
const makeConsola = (): ConsolaInstance =>
  createConsola({
    level: CONSOLA_LEVELS[style.logLevel],
    throttle: 0,
    reporters: [{ log: ({ type, args: [text, fields] }) => say(type, text as string, fields as Fields) }],
  });

/** Created when there is something to say: the first start usually says nothing. */
let consola: ConsolaInstance | undefined;
const log = (): ConsolaInstance => (consola ??= makeConsola());

/** Recognises that standard error is the journal's stream: JOURNAL_STREAM names it as `device:inode` (systemd.exec(5)). */
export function recogniseJournal({
  JOURNAL_STREAM: stream,
}: Readonly<Record<string, string | undefined>>): void {
  try {
    isJournal = stream !== undefined && statusOf(sink.descriptor).streamName === stream;
  } catch {
    // Standard error is closed: nobody reads anything.
  }
}

/** Sets level and format for all that follows. */
export const setStyle = ({ logLevel, logJson }: Style): void => void (style = { logLevel, logJson });

/** Whether lines of this level are shown. */
export function shows(level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= LOG_LEVELS.indexOf(style.logLevel);
}

/** Whether lines about single exchanges are shown. */
export function isDetailed(): boolean {
  return style.logLevel === "debug";
}

/** One exchange or refusal. */
export function debug(text: string, fields: Fields): void {
  log().debug(text, fields);
}

/** News that a person waits for. */
export function info(text: string, fields: Fields = {}): void {
  if (shows("info")) log().info(text, fields);
}

/** Something that is not as it should be and no reason to stop, with what the person can do about it. */
export function warning(text: string, hints: readonly string[] = []): void {
  for (const [index, line] of [text, ...hints].entries())
    log().warn(line, { event: index === 0 ? "warning" : "hint" });
}

/** Why an exchange failed. */
export function error(text: string, fields: Fields = {}): void {
  log().error(text, fields);
}

/** What ended the program, at every level: a UserError with its hints; of any other error only the class, because its message may quote the key. */
export function failure(thrown: unknown): void {
  if (!(thrown instanceof UserError)) {
    const kind = thrown instanceof Error ? thrown.name : typeof thrown;
    say("error", `internal error (${kind}), details withheld`, { event: "end" });
    return;
  }
  for (const { message, hints } of [thrown, ...thrown.others]) {
    say("error", message, { event: "end" });
    for (const text of hints) say("error", text, { event: "hint" });
  }
}

/** Text that was asked for (`--help`, `--version`), to standard output. Throws UserError if that cannot be written. */
export function output(text: string): void {
  try {
    writeAll(1, Buffer.from(`${text}\n`));
  } catch (thrown) {
    throw new UserError(`standard output cannot be written (${causeOf(thrown)})`);
  }
}

/** Whether standard output may have colours (https://no-color.org). */
export function hasColours(environment: Readonly<Record<string, string>>): boolean {
  return isTerminal(1) && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
}

/** Gives standard error to this file alone: what the runtime prints by itself goes nowhere. */
export const silenceRuntime = (): void => sink.silenceRuntime();

/** Appends all that follows to this file. Until `leaveStandardError`, standard error gets what is wrong as well. */
export function logTo(fd: number): void {
  sink.logTo(fd);
  isJournal = false;
}

/** Closes the caller's standard error: what follows goes to the log file, or nowhere. */
export const leaveStandardError = (): void => sink.leaveStandardError();

/** Escapes control and formatting characters: those that move the cursor, change the direction of text, or are invisible. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) =>
    character.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );
}

/** One line. In text, errors, warnings and hints have a label, and a line of the log file has its time. */
function say(type: string, text: string, fields: Fields = {}): void {
  const level = type === "error" || type === "warn" || type === "debug" ? type : "info";
  const isWrong = level === "error" || level === "warn";
  const start = isJournal ? `<${PRIORITIES[level]}>` : "";
  const time = new Date().toISOString();
  const write = (line: string, logged = line): void =>
    sink.write(printable(line), printable(logged), isWrong);
  if (style.logJson) {
    const { event = "message", ...others } = fields;
    const line = start + JSON.stringify({ time, level, event, message: text, ...others });
    write(line);
    return;
  }
  const label = fields["event"] === "hint" ? "hint: " : isWrong ? LABELS[level] : "";
  const line = `${isJournal ? start : "responses-api-proxy: "}${label}${text}`;
  write(line, `${time} ${label}${text}`);
}

/** The numbers of syslog(3). The journal takes them off the start of a line (sd-daemon(3)). */
const PRIORITIES = { error: 3, warn: 4, info: 6, debug: 7 } as const;
const LABELS = { error: "error: ", warn: "warning: " } as const;
