// Raw arguments → the flags that were given, each known and given once. What their values mean is for options.ts.

import { FLAGS } from "./cli.ts";
import { EXIT, UserError } from "./errors.ts";
import { nearest } from "./nearest.ts";

export type Flag = keyof typeof FLAGS;

/** The flags given: a string for those that take a value, true for the others. */
export type Given = { [F in Flag]?: (typeof FLAGS)[F]["type"] extends "boolean" ? true : string };

/**
 * Reads `--flag value`, `--flag=value` and `--switch`, and throws UserError for everything else: unknown and repeated flags, missing
 * values, values where none goes, extra words. (citty 0.2.2, which draws --help from the same table, takes all of these silently.)
 */
export function readFlags(rawArguments: readonly string[]): Given {
  const given: Partial<Record<Flag, string | true>> = {};
  const rest = [...rawArguments];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!word.startsWith("-") || word === "--" || word === "-") throw unexpectedWord(word);
    const [, flag = word, inlineValue] = /^(--[^=]*)=(.*)$/s.exec(word) ?? [];
    const name = flag.slice(2);
    if (!flag.startsWith("--") || !isFlag(name)) throw unknownFlag(flag);
    if (given[name] !== undefined) throw usageError(`--${name} is given more than once`);
    if (FLAGS[name].type === "boolean") given[name] = readSwitch(name, inlineValue);
    else given[name] = readValue(name, inlineValue ?? takeValue(rest));
  }
  return given as Given;
}

function isFlag(name: string): name is Flag {
  return Object.hasOwn(FLAGS, name);
}

/** The next word, unless it is a flag itself: then the value was forgotten. */
function takeValue(rest: string[]): string | undefined {
  return rest[0]?.startsWith("-") ? undefined : rest.shift();
}

function readSwitch(name: Flag, inlineValue: string | undefined): true {
  if (inlineValue !== undefined) throw usageError(`--${name} takes no value, got ${quote(inlineValue)}`);
  return true;
}

function readValue(name: Flag, value: string | undefined): string {
  if (value === undefined || value === "") throw usageError(`--${name} needs a value`);
  return value;
}

function unknownFlag(flag: string): UserError {
  const suggestion = nearest(
    flag,
    Object.keys(FLAGS).map((name) => `--${name}`),
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
