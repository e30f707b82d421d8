// The commands, their flags and what their values are, for all shells: made from the tables that --help is made from.

import type { ArgDef } from "citty";

export { name as PROGRAM } from "../../src/base/version.ts";
import { COMMANDS, FLAGS, publicCommands } from "../../src/input/flags.ts";

/** What a value is chosen from. */
export type Kind = "file" | "directory" | "user" | "group" | "level" | "anything";

type Table<T> = T[keyof T];
type Hint = Extract<
  Table<typeof FLAGS> | Table<{ [Name in keyof typeof COMMANDS]: Table<(typeof COMMANDS)[Name]["args"]> }>,
  { valueHint: string }
>["valueHint"];

/** What --help calls a value → what it is. */
const KINDS: Record<Hint, Kind> = {
  FILE: "file",
  PATH: "file",
  DIR: "directory",
  "NAME|UID": "user",
  GROUP: "group",
  LEVEL: "level",
  PORT: "anything",
  MODE: "anything",
  N: "anything",
  "N/UNIT": "anything",
  DURATION: "anything",
  AUDIENCE: "anything",
  ID: "anything",
  URL: "anything",
};

export type Flag = {
  name: string;
  letter: string | undefined;
  description: string;
  value: { hint: string; kind: Kind } | undefined;
};

/** A subcommand, or the program without one (the name is empty). */
export type Command = { name: string; description: string; flags: Flag[]; takesFile: boolean };

function commandOf(name: string, description: string, args: Record<string, ArgDef>): Command {
  const isPlace = ({ type }: ArgDef): boolean => type === "positional";
  const flags = Object.entries(args)
    .filter(([, arg]) => !isPlace(arg))
    .map(([flag, { description: sentence = "", valueHint, ...arg }]) => ({
      name: flag,
      letter: "alias" in arg ? String(arg.alias) : undefined,
      description: sentence,
      value: valueHint === undefined ? undefined : { hint: valueHint, kind: KINDS[valueHint as Hint] },
    }));
  return { name, description, flags, takesFile: Object.values(args).some(isPlace) };
}

/** The program without a subcommand. */
export const START = commandOf("", "", FLAGS);
export const SUBCOMMANDS = publicCommands().map((name) =>
  commandOf(name, COMMANDS[name].description, COMMANDS[name].args),
);
export const ALL = [START, ...SUBCOMMANDS];
/** The subcommand that is followed by `--` and another command. */
export const RUN = "run";

export const NAMES = publicCommands().join("|");
