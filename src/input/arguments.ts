// Raw arguments → the flags that were given, each known and given once. options.ts checks their values.

import { EXIT, ID_TOKEN_PERMISSION, PIPE_IT_IN, UserError } from "../base/errors.ts";
import { NO_TEXT } from "../base/paths.ts";
import { fromElsewhere, isKeyFlag, nearest } from "./advice/nearest.ts";
import { type CommandName, COMMANDS, FLAGS, isCommand, publicCommands, REPEATABLE } from "./flags.ts";

export type Flag = keyof typeof FLAGS;

type FlagTable = Readonly<Record<string, { type: "boolean" | "string" | "positional"; alias?: string }>>;

/** The flags of a table that were given: a string for one with a value, true for a switch, all values of one that may be repeated. */
export type Given<Table extends FlagTable> = {
  [Name in keyof Table]?: Table[Name]["type"] extends "boolean"
    ? true
    : Name extends "allow-user"
      ? string[]
      : string;
};

/** Replaces `help`, `help COMMAND` and `version`, which are words in other programs, by the flags of the same meaning. */
export function wordsAsFlags(rawArguments: readonly string[]): readonly string[] {
  const [word, ...rest] = rawArguments;
  if (word === "version") return ["--version", ...rest];
  if (word !== "help") return rawArguments;
  const [command, ...others] = rest;
  return command === undefined ? ["--help"] : [command, "--help", ...others];
}

/**
 * Reads `--flag value`, `--flag=value`, `--switch`, its letter, and as many words as the table has places for. Throws UserError for
 * everything else: unknown and repeated flags, missing values, values of switches, extra words. (citty 0.2.2, which draws --help from
 * the same tables, accepts all of these silently.)
 */
export function readFlags(rawArguments: readonly string[]): Given<typeof FLAGS> {
  return readWith(FLAGS, rawArguments);
}

/** Reads what follows the name of a subcommand. */
export function readCommandFlags<Name extends CommandName>(
  command: Name,
  rawArguments: readonly string[],
): Given<(typeof COMMANDS)[Name]["args"]> {
  return readWith(COMMANDS[command].args, rawArguments);
}

/** COMMAND's words are the ones behind the first `--`. Throws UserError. */
export function splitCommand(rawArguments: readonly string[]): { own: readonly string[]; words: number } {
  const at = rawArguments.indexOf("--");
  const own = at === -1 ? rawArguments : rawArguments.slice(0, at);
  if (own.some((word) => word === "--help" || word === "-h" || word === "--print-env"))
    return { own, words: 0 };
  const words = at === -1 ? 0 : rawArguments.length - at - 1;
  if (words === 0 || rawArguments[at + 1] === "")
    throw usageError(at === -1 ? "run needs -- and a COMMAND" : "run needs a COMMAND behind --", [
      "responses-api-proxy run [OPTIONS] -- COMMAND [ARG …]",
    ]);
  return { own, words };
}

function readWith<Table extends FlagTable>(table: FlagTable, rawArguments: readonly string[]): Given<Table> {
  if (rawArguments.some((word) => word.includes(NO_TEXT)))
    throw usageError("an argument is no UTF-8: it would be read as another one");
  const given: Record<string, string | true | string[]> = {};
  const places = Object.keys(table).filter((name) => table[name]!.type === "positional");
  const rest = [...rawArguments];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!word.startsWith("-") || word === "--" || word === "-") {
      const place = word.startsWith("-") || isKeyLike(word) ? undefined : places.shift();
      if (place === undefined) throw unexpectedWord(word);
      given[place] = word;
      continue;
    }
    const [, flag = word, inlineValue] = /^(--?[^=]*)=(.*)$/s.exec(word) ?? [];
    const name = nameOf(flag, table);
    if (name === undefined) throw unknownFlag(flag, table, inlineValue ?? takeValue(rest));
    const earlier = given[name];
    if (earlier !== undefined && !REPEATABLE.includes(name))
      throw usageError(`--${name} is given more than once`);
    const value =
      table[name]!.type === "boolean"
        ? readSwitch(name, inlineValue)
        : readValue(name, inlineValue ?? takeValue(rest));
    given[name] = REPEATABLE.includes(name) ? [...((earlier as string[]) ?? []), value as string] : value;
  }
  return given as Given<Table>;
}

/** The name of a flag that is given by its name or its letter. */
function nameOf(flag: string, table: FlagTable): string | undefined {
  return Object.keys(table).find((name) => {
    const { type, alias } = table[name]!;
    return type !== "positional" && (flag === `--${name}` || (alias !== undefined && flag === `-${alias}`));
  });
}

/** The next word, unless it is a flag itself: then the value was forgotten. */
function takeValue(rest: string[]): string | undefined {
  return rest[0] !== "-" && rest[0]?.startsWith("-") ? undefined : rest.shift();
}

function readSwitch(name: string, inlineValue: string | undefined): true {
  if (inlineValue !== undefined) throw usageError(`--${name} takes no value, got ${quote(inlineValue)}`);
  return true;
}

function readValue(name: string, value: string | undefined): string {
  if (value === undefined || value === "")
    throw usageError(
      `--${name} needs a value`,
      name === "github-oidc-request-url" ? [ID_TOKEN_PERMISSION] : [],
    );
  return value;
}

function unknownFlag(flag: string, table: FlagTable, value: string | undefined): UserError {
  if (isKeyFlag(flag) && value !== undefined) return keyAsArgument();
  const flags = Object.keys(table).filter((name) => table[name]!.type !== "positional");
  const suggestion = nearest(
    flag,
    flags.map((name) => `--${name}`),
  );
  const meant = isKeyFlag(flag) ? PIPE_IT_IN : fromElsewhere(flag);
  return unknown(`unknown flag ${quote(flag)}`, meant, suggestion);
}

function isKeyLike(word: string): boolean {
  return /^(sk-|Bearer)/i.test(word);
}

/** The most common mistake. The message must not repeat the value. */
function keyAsArgument(): UserError {
  return usageError("the key must not be an argument: every user can read those", [
    PIPE_IT_IN,
    "treat that key as known to others on this host",
  ]);
}

function unexpectedWord(word: string): UserError {
  if (isKeyLike(word)) return keyAsArgument();
  const message = `unexpected argument ${quote(word)}`;
  if (isCommand(word)) return usageError(message, [`a subcommand goes first: responses-api-proxy ${word} …`]);
  return unknown(message, fromElsewhere(word), nearest(word, publicCommands()));
}

/** A known meaning of the word goes before a similar word. */
function unknown(message: string, meant: string | undefined, near: string | undefined): UserError {
  if (meant !== undefined) return usageError(message, [meant]);
  return usageError(message, near === undefined ? [] : [`did you mean ${near}?`]);
}

/** A UserError about the command line, exit code 2. */
export function usageError(message: string, hints: readonly string[] = []): UserError {
  return new UserError(message, EXIT.usage, hints);
}

/** What the user typed, in quotes, cut if it is very long, and without a part that looks like a key. */
export function quote(text: string): string {
  const harmless = text.replace(/sk-[\w-]{3,}/g, "sk-…");
  return `'${harmless.length > 200 ? `${harmless.slice(0, 200)}…` : harmless}'`;
}
