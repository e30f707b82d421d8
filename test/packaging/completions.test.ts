// Completion, as a person has it: the words before Tab go to a real shell, and the test sees what that offers.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { bash } from "../../packaging/completions/bash.ts";
import { fish } from "../../packaging/completions/fish.ts";
import { zsh } from "../../packaging/completions/zsh.ts";
import { LOG_LEVELS } from "../../src/base/terminal.ts";
import { COMMANDS, FLAGS, publicCommands } from "../../src/input/flags.ts";
import { atEnd } from "../harness/cleanup.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, runProgram, temporaryDirectory } from "../harness/program.ts";

const PROGRAM = "responses-api-proxy";
/** zsh reads some hundred files at its first completion. */
setDefaultTimeout(120_000);

/** A file, a directory, and files that other words begin. */
const directory = temporaryDirectory();
mkdirSync(join(directory, "dumps"));
for (const name of ["key", "dummy", "info.json"]) writeFileSync(join(directory, name), "");

const namesIn = (file: string): string[] => readFileSync(file, "utf8").match(/^[\w-]+(?=:)/gm) ?? [];
/** A name that no other one of its file begins like, and none of the other file: a user is no group. */
const onlyIn = (names: string[], others: string[]): string =>
  names.find(
    (name) => [...names, ...others].filter((other) => other.startsWith(name.slice(0, -1))).length === 1,
  )!;
const [users, groups] = [namesIn("/etc/passwd"), namesIn("/etc/group")];
const [USER, GROUP] = [onlyIn(users, groups), onlyIn(groups, users)];

const flagsOf = (table: object): string[] => Object.keys(table).map((name) => `--${name}`);

/** The words behind the program's name → what is offered for the last of them. */
const OFFERED: [line: string, offered: readonly string[]][] = [
  ["st", ["status"]],
  // What `run` leaves beside COMMAND is for nobody to call.
  ["watc", []],
  ["--", flagsOf(FLAGS)],
  ["run --p", ["--port", "--print-env"]],
  ["wait --", ["--of-user", "--max", "--help"]],
  ["doctor --js", ["--json"]],
  ["--js", []],
  ["run --exit", []],
  ["--log-level=", LOG_LEVELS],
  ["doctor --log-level ", LOG_LEVELS],
  ["--port ", []],
  [`--user ${USER.slice(0, -1)}`, [USER]],
  [`run --allow-user=${USER.slice(0, -1)}`, [USER]],
  [`status --of-user ${USER.slice(0, -1)}`, [USER]],
  [`--socket-group ${GROUP.slice(0, -1)}`, [GROUP]],
  [`run --key-file ${directory}/k`, ["key"]],
  [`--dump-dir ${directory}/d`, ["dumps"]],
  [`--server-info=${directory}/d`, ["dummy", "dumps"]],
  [`wait ${directory}/i`, ["info.json"]],
  // A flag is given once, but for --allow-user.
  ["--strict --str", []],
  ["--allow-user=1 --allow", ["--allow-user"]],
  // A subcommand goes first.
  ["--strict st", []],
  ["run --strict -- printen", ["printenv"]],
  ["run -- stdbu", ["stdbuf"]],
  [`run -- cat ${directory}/i`, ["info.json"]],
];

/** A line → what the shell offers for its last word. */
type Shell = (lines: readonly string[]) => Promise<string[][]>;

/** A function with the program's name shows the words of a line into which the shell has inserted all that it offers. */
const SHOW = `${PROGRAM}() { printf '{%s}' "$@"; echo END; }`;
const SHOWN = /(\{.*\})END\r?\n/g;

/** Returns what was inserted in place of the line's last word. */
function insertedInto(line: string, shown: string): string[] {
  const words = [...shown.matchAll(/\{([^}]*)\}/g)].map(([, word]) => word!);
  const typed = line.split(" ");
  const inserted = words.slice(typed.length - 1);
  return inserted.join(" ") === typed.at(-1) ? [] : inserted;
}

const inBash: Shell = async (lines) => {
  const file = join(temporaryDirectory(), PROGRAM);
  writeFileSync(file, bash());
  // Alt-* inserts all completions (insert-completions, readline(3)).
  const typed = [`source ${file}`, SHOW, ...lines.map((line) => `${PROGRAM} ${line}\x1b*`)];
  const args = ["--norc", "--noprofile", "-i"];
  const { stdout } = await runProgram({ binary: "bash", args, input: `${typed.join("\n")}\n` });
  const shown = [...stdout.matchAll(SHOWN)].map(([, words]) => words!);
  return lines.map((line, index) => insertedInto(line, shown[index]!));
};

const inZsh: Shell = async (lines) => {
  const functions = temporaryDirectory();
  writeFileSync(join(functions, `_${PROGRAM}`), zsh());
  const decoder = new TextDecoder();
  let seen = "";
  const child = Bun.spawn(["zsh", "-f", "-i"], {
    env: { ...BARE_ENVIRONMENT, HOME: functions, TERM: "dumb" },
    cwd: "/",
    terminal: {
      cols: 5000,
      rows: 500,
      data: (_terminal, bytes) => void (seen += decoder.decode(bytes, { stream: true })),
    },
  });
  atEnd(() => {
    child.kill("SIGKILL");
    return child.exited;
  });
  /** Types, and returns what the pattern finds once it is there. */
  async function type(text: string, pattern: RegExp): Promise<string> {
    seen = "";
    child.terminal!.write(text);
    await until(() => pattern.test(seen), `${pattern} from zsh`, { seen: () => seen, seconds: 60 });
    return pattern.exec(seen)![1] ?? "";
  }
  // Ctrl-T inserts all completions (_all_matches, zshcompsys(1)).
  const settings = [
    `fpath=(${functions} $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=9999`,
    "zle -C all-matches complete-word _generic",
    "offer() { zle all-matches; zle accept-line }; zle -N offer; bindkey '^T' offer",
    "zstyle ':completion:*' completer _all_matches _complete; zstyle ':completion:*' insert true",
    SHOW,
  ];
  for (const setting of settings) await type(`${setting}; echo REA''DY\n`, /READY\r?\n/);
  const shown: string[] = [];
  for (const line of lines) shown.push(await type(`${PROGRAM} ${line}\x14`, /(\{.*\})END\r?\n/));
  return lines.map((line, index) => insertedInto(line, shown[index]!));
};

const inFish: Shell = async (lines) => {
  const home = temporaryDirectory();
  const file = join(home, `${PROGRAM}.fish`);
  writeFileSync(file, fish());
  const script = ["source $argv[1]", ...lines.map((line) => `complete -C '${PROGRAM} ${line}'; echo END`)];
  const args = ["--no-config", "-c", script.join("\n"), file];
  const { stdout } = await runProgram({ binary: "fish", args, env: { HOME: home }, seconds: 60 });
  const blocks = stdout.split("END\n").slice(0, -1);
  return blocks.map((block) =>
    block
      .split("\n")
      .slice(0, -1)
      .map((entry) => entry.split("\t")[0]!),
  );
};

/** The word itself: without the flag or the directory before it, and what marks it as a flag with a value or a directory. */
const bare = (word: string): string =>
  word.startsWith(directory) || word.includes(`=${directory}`)
    ? word.replace(/\/$/, "").replace(/.*\//, "")
    : word.replace(/^--[\w-]+=(?=.)/, "").replace(/=$/, "");

describe.each([
  ["bash", inBash],
  ["zsh", inZsh],
  ["fish", inFish],
] as const)("%s", (name, shell) => {
  test.skipIf(lacks(name))(`offers what may come next, and nothing else (needs ${name})`, async () => {
    const offers = await shell(["", ...OFFERED.map(([line]) => line)]);
    // Before the first letter some shells show flags, too.
    expect(offers[0]).toEqual(expect.arrayContaining([...publicCommands()]));
    expect(offers[0]).not.toContain("watch");
    const shown = OFFERED.map(([line], index) => [line, offers[index + 1]!.map(bare).sort()]);
    expect(shown).toEqual(OFFERED.map(([line, offered]) => [line, [...offered].sort()]));
  });
});

test("the subcommands of the table are the ones that the lines above are about", () => {
  expect(Object.keys(COMMANDS).sort()).toEqual([...publicCommands(), "watch"].sort());
});
