// Everything shown to a person goes through here, to standard error. The rules:
// - `responses-api-proxy: error: <lower case, no full stop>`, then `responses-api-proxy: hint: <an action>`, a line each.
// - Flags are named as typed, what the user typed is quoted, a failed system call is named with its reason.
// - Nothing that came from standard input, from a header or from a body.
// - One message is one line: control characters are escaped, so no text can forge a line or move the cursor.

// Not consola/basic, which opens process.stdout and process.stderr at once: 10 ms of a start of 13 (Bun 1.4.5).
import { type ConsolaInstance, createConsola, LogLevels } from "consola/core";

import { duplicate, isTerminal, replaceByNull } from "../native/descriptors.ts";
import { writeText } from "../native/files.ts";
import { causeOf, UserError } from "./errors.ts";

let descriptor = 2;

// The level is fixed because consola otherwise takes it from the environment (NODE_ENV=test hides everything but errors),
// and throttle is off because it would merge repeated lines.
const makeConsola = (): ConsolaInstance =>
  createConsola({
    level: LogLevels.info,
    throttle: 0,
    reporters: [{ log: ({ type, args }) => writeLine(type === "info" ? "" : `${type}: `, args.join(" ")) }],
  });

/** Made when there is something to say: the first of the two starts says nothing when it goes well. */
let consola: ConsolaInstance | undefined;
const log = (): ConsolaInstance => (consola ??= makeConsola());

/** How things stand, where a person waits to know. */
export function info(text: string): void {
  log().info(text);
}

/** Something that does not hold as it should, but is no reason to stop. */
export function warning(text: string): void {
  log().log({ type: "warning" as never, level: LogLevels.warn, args: [text] } as never);
}

/** Why an exchange or the program failed. */
export function error(text: string): void {
  log().error(text);
}

/** What the person can do about the line before. */
export function hint(text: string): void {
  writeLine("hint: ", text);
}

/** Whatever ended the program: a UserError with its hints, and of anything else no more than the class, since a message may quote the key. */
export function failure(thrown: unknown): void {
  if (!(thrown instanceof UserError)) {
    const kind = thrown instanceof Error ? thrown.name : typeof thrown;
    error(`internal error (${kind}), details withheld`);
    return;
  }
  error(thrown.message);
  for (const text of thrown.hints) hint(text);
}

/** Text that was asked for (`--help`, `--version`), to standard output. Throws UserError where that takes nothing. */
export function output(text: string): void {
  try {
    writeText(1, `${text}\n`);
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

/** The text with its control characters escaped. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function writeLine(label: string, text: string): void {
  try {
    writeText(descriptor, `responses-api-proxy: ${label}${printable(text)}\n`);
  } catch {
    // Nobody reads standard error any more; that is no reason to stop serving.
  }
}
