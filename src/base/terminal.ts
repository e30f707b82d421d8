// Everything shown to a person goes through here, to standard error. The rules:
// - `responses-api-proxy: error: <lower case, no full stop>`, then `responses-api-proxy: hint: <an action>`, a line each.
// - Flags are named as typed, what the user typed is quoted, a failed system call is named with its reason.
// - Nothing that came from standard input, from a header or from a body.
// - For the journal (systemd-journald), a line has its priority instead of the program's name, which the journal adds by itself.
// - One message is one line: control characters are escaped, so no text can forge a line or move the cursor.

// Not consola/basic, which opens process.stdout and process.stderr at once: 10 ms of a start of 13 (Bun 1.4.5).
import { type ConsolaInstance, createConsola, LogLevels } from "consola/core";

import { duplicate, isTerminal, replaceByNull, takesOutput } from "../../native/files/descriptors.ts";
import { statusOf, writeAll } from "../../native/files/files.ts";
import { causeOf, UserError } from "./errors.ts";

let descriptor = 2;

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

/** Named values of a line, for --log-json; `event` says what kind of line it is. */
export type Fields = Readonly<Record<string, unknown>>;

// The level is ours because consola otherwise takes it from the environment (NODE_ENV=test hides everything but errors),
// and throttle is off because it would merge repeated lines.
const makeConsola = (): ConsolaInstance =>
  createConsola({
    level: CONSOLA_LEVELS[style.logLevel],
    throttle: 0,
    reporters: [{ log: ({ type, args: [text, fields] }) => say(type, text as string, fields as Fields) }],
  });

/** Made when there is something to say: the first of the two starts says nothing when it goes well. */
let consola: ConsolaInstance | undefined;
const log = (): ConsolaInstance => (consola ??= makeConsola());

/** Looks whether standard error is the stream of the journal's that JOURNAL_STREAM names, as `device:inode` (systemd.exec(5)). */
export function recogniseJournal({ JOURNAL_STREAM: stream }: Readonly<Record<string, string>>): void {
  try {
    isJournal = stream !== undefined && statusOf(descriptor).streamName === stream;
  } catch {
    // Closed: nobody is told anything then.
  }
}

/** Decides how all that follows is said. */
export function setStyle({ logLevel, logJson }: Style): void {
  style = { logLevel, logJson };
}

/** Whether lines about single exchanges are shown. */
export function isDetailed(): boolean {
  return style.logLevel === "debug";
}

/** What became of one exchange. */
export function debug(text: string, fields: Fields): void {
  log().debug(text, fields);
}

/** How things stand, where a person waits to know. */
export function info(text: string, fields: Fields = {}): void {
  log().info(text, fields);
}

/** Something that does not hold as it should, but is no reason to stop; and what the person can do about it. */
export function warning(text: string, hints: readonly string[] = []): void {
  for (const [index, line] of [text, ...hints].entries())
    log().warn(line, { event: index === 0 ? "warning" : "hint" });
}

/** Why an exchange failed. */
export function error(text: string, fields: Fields = {}): void {
  log().error(text, fields);
}

/**
 * Whatever ended the program, at every level: a UserError with its hints, and of anything else no more than the class, since a
 * message may quote the key.
 */
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

/** Text that was asked for (`--help`, `--version`), to standard output. Throws UserError where that takes nothing. */
export function output(text: string): void {
  try {
    writeAll(1, Buffer.from(`${text}\n`));
  } catch (thrown) {
    throw new UserError(`standard output cannot be written (${causeOf(thrown)})`);
  }
}

/** Whether what goes to standard output may have colours (https://no-color.org). */
export function hasColours(environment: Readonly<Record<string, string>>): boolean {
  return isTerminal(1) && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
}

/**
 * From here on standard error belongs to this file alone. The runtime prints errors there by itself, whole, with addresses and
 * what else they carry, and cannot be asked not to (Bun 1.4.5: a body that breaks off, `verbose`, a crash); that goes to /dev/null.
 */
export function silenceRuntime(): void {
  descriptor = duplicate(2);
  replaceByNull(2);
}

/** The text with its control and formatting characters escaped: those that move the cursor, turn the direction, or do not show. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) =>
    character.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );
}

/** One line. As text, a hint and a warning are labelled so, an error too, and the rest speaks for itself. */
function say(type: string, text: string, fields: Fields = {}): void {
  const level = type === "error" || type === "warn" || type === "debug" ? type : "info";
  const start = isJournal ? `<${PRIORITIES[level]}>` : "";
  if (style.logJson) {
    const { event = "message", ...others } = fields;
    const object = { time: new Date().toISOString(), level, event, message: text, ...others };
    writeLine(start + JSON.stringify(object));
    return;
  }
  const label =
    fields["event"] === "hint" ? "hint: " : level === "info" || level === "debug" ? "" : LABELS[level];
  writeLine(`${isJournal ? start : "responses-api-proxy: "}${label}${text}`);
}

/** As syslog(3) numbers them and sd-daemon(3) has them at the start of a line, where the journal takes them off again. */
const PRIORITIES = { error: 3, warn: 4, info: 6, debug: 7 } as const;

const LABELS = { error: "error: ", warn: "warning: " } as const;

/** Lines that were not taken, because whoever reads them does not: waiting for that would stop the proxy. */
let lost = 0;

function writeLine(line: string): void {
  if (!takesOutput(descriptor)) {
    lost++;
    return;
  }
  try {
    if (lost > 0) {
      const count = lost;
      lost = 0;
      say("warn", `${count} lines were not written, because nobody read them`, { event: "lost", count });
    }
    writeAll(descriptor, Buffer.from(`${printable(line)}\n`));
  } catch {
    // Nobody reads standard error any more; that is no reason to stop serving.
  }
}
