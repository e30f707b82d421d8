// Raw arguments → the flags that were given, each known and given once. What their values mean is for options.ts.

import { parseArgs } from "node:util";

import { FLAGS } from "./cli.ts";
import { EXIT, UserError } from "./errors.ts";
import { nearest } from "./nearest.ts";

export type Flag = keyof typeof FLAGS;

/** The flags given: a string for those that take a value, true for the others. */
export type Given = { [F in Flag]?: (typeof FLAGS)[F]["type"] extends "boolean" ? true : string };

/**
 * citty takes unknown flags, extra words and missing values without complaint (0.2.2), so the arguments are read by
 * node:util's parseArgs and every token is judged here.
 */
export function readFlags(rawArguments: readonly string[]): Given {
  const { tokens } = parseArgs({
    args: [...rawArguments],
    options: Object.fromEntries(Object.entries(FLAGS).map(([name, { type }]) => [name, { type }])),
    strict: false,
    tokens: true,
  });
  const given: Partial<Record<Flag, string | true>> = {};
  for (const token of tokens) {
    if (token.kind === "positional") throw unexpectedWord(token.value);
    if (token.kind === "option-terminator") throw unexpectedWord("--");
    if (!token.rawName.startsWith("--") || !Object.hasOwn(FLAGS, token.name))
      throw unknownFlag(token.rawName);
    const name = token.name as Flag;
    if (given[name] !== undefined) throw usageError(`--${name} is given more than once`);
    given[name] = FLAGS[name].type === "boolean" ? readSwitch(name, token) : readValue(name, token);
  }
  return given as Given;
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

/** What the user typed, in quotes, cut where it is very long. */
export function quote(text: string): string {
  return `'${text.length > 200 ? `${text.slice(0, 200)}…` : text}'`;
}
