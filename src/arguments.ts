// Raw arguments → the flags that were given, each known and given once. What their values mean is for options.ts.

import { type CommandName, COMMANDS, FLAGS, isCommand } from "./cli.ts";
import { EXIT, UserError } from "./errors.ts";
import { nearest } from "./nearest.ts";

export type Flag = keyof typeof FLAGS;

type FlagTable = Readonly<Record<string, { type: "boolean" | "string" | "positional" }>>;

/** What of a table was given: a string for what has a value, true for a switch. */
export type Given<Table extends FlagTable> = {
  [Name in keyof Table]?: Table[Name]["type"] extends "boolean" ? true : string;
};

/**
 * Reads `--flag value`, `--flag=value`, `--switch` and the words the table has places for, and throws UserError for everything else:
 * unknown and repeated flags, missing values, values where none goes, extra words. (citty 0.2.2, which draws --help from the same
 * tables, takes all of these silently.)
 */
export function readFlags(rawArguments: readonly string[]): Given<typeof FLAGS> {
  return readWith(FLAGS, "", rawArguments);
}

/** The same for what stands behind the name of a subcommand. */
export function readCommandFlags<Name extends CommandName>(
  command: Name,
  rawArguments: readonly string[],
): Given<(typeof COMMANDS)[Name]["args"]> {
  return readWith(COMMANDS[command].args, ` ${command}`, rawArguments);
}

function readWith<Table extends FlagTable>(
  table: FlagTable,
  command: string,
  rawArguments: readonly string[],
): Given<Table> {
  const given: Record<string, string | true> = {};
  const hints = [`responses-api-proxy${command} --help shows all flags`];
  const places = Object.keys(table).filter((name) => table[name]!.type === "positional");
  const rest = [...rawArguments];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!word.startsWith("-") || word === "--" || word === "-") {
      const place = word.startsWith("-") || isKeyLike(word) ? undefined : places.shift();
      if (place === undefined) throw unexpectedWord(word, hints);
      given[place] = word;
      continue;
    }
    const [, flag = word, inlineValue] = /^(--[^=]*)=(.*)$/s.exec(word) ?? [];
    const name = flag.slice(2);
    const type = flag.startsWith("--") && Object.hasOwn(table, name) ? table[name]!.type : undefined;
    if (type === undefined || type === "positional") throw unknownFlag(flag, table);
    if (given[name] !== undefined) throw usageError(`--${name} is given more than once`, hints);
    given[name] =
      type === "boolean"
        ? readSwitch(name, inlineValue, hints)
        : readValue(name, inlineValue ?? takeValue(rest), hints);
  }
  return given as Given<Table>;
}

/** The next word, unless it is a flag itself: then the value was forgotten. */
function takeValue(rest: string[]): string | undefined {
  return rest[0]?.startsWith("-") ? undefined : rest.shift();
}

function readSwitch(name: string, inlineValue: string | undefined, hints: readonly string[]): true {
  if (inlineValue !== undefined)
    throw usageError(`--${name} takes no value, got ${quote(inlineValue)}`, hints);
  return true;
}

function readValue(name: string, value: string | undefined, hints: readonly string[]): string {
  if (value === undefined || value === "") throw usageError(`--${name} needs a value`, hints);
  return value;
}

function unknownFlag(flag: string, table: FlagTable): UserError {
  const flags = Object.keys(table).filter((name) => table[name]!.type !== "positional");
  const suggestion = nearest(
    flag,
    flags.map((name) => `--${name}`),
  );
  return usageError(
    `unknown flag ${quote(flag)}`,
    suggestion === undefined ? [] : [`did you mean ${suggestion}?`],
  );
}

function isKeyLike(word: string): boolean {
  return /^(sk-|Bearer)/i.test(word);
}

function unexpectedWord(word: string, hints: readonly string[]): UserError {
  // The commonest mistake of all, and the one word that must not be repeated on a terminal.
  if (isKeyLike(word)) {
    return usageError("the key must not be an argument: every user can read those", [
      "pipe it in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy",
      "treat that key as known to others on this host",
    ]);
  }
  const message = `unexpected argument ${quote(word)}`;
  if (isCommand(word)) return usageError(message, [`a subcommand goes first: responses-api-proxy ${word} …`]);
  const suggestion = nearest(word, Object.keys(COMMANDS));
  return usageError(message, suggestion === undefined ? hints : [`did you mean ${suggestion}?`]);
}

/** A UserError about the command line, exit code 2. */
export function usageError(
  message: string,
  hints: readonly string[] = ["responses-api-proxy --help shows all flags"],
) {
  return new UserError(message, EXIT.usage, hints);
}

/** What the user typed, in quotes, cut where it is very long, and without what looks like a key put in the wrong place. */
export function quote(text: string): string {
  const harmless = text.replace(/sk-[\w-]{3,}/g, "sk-…");
  return `'${harmless.length > 200 ? `${harmless.slice(0, 200)}…` : harmless}'`;
}
