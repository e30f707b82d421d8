// The completion for fish.

import { LOG_LEVELS } from "../../src/base/terminal.ts";
import { REPEATABLE } from "../../src/input/flags.ts";
import { ALL, type Command, type Kind, PROGRAM, RUN, SUBCOMMANDS } from "./commands.ts";

const IDENTIFIER = PROGRAM.replaceAll("-", "_");

/** The completion for fish. */
export function fish(): string {
  const complete = `complete -c ${PROGRAM}`;
  return `# fish completion for ${PROGRAM}

# Whether the words so far are this subcommand's ('': of none), and this flag may follow: it was not given before. A flag with
# a value may be the last word: the value comes now.
function __${IDENTIFIER}_takes -a command flag value
    set -l words (commandline -opc)
    set -l given ''
    contains -- "$words[2]" ${SUBCOMMANDS.map(({ name }) => name).join(" ")}; and set given $words[2]
    test "$given" = "$command"; or return 1
    test "$given" = ${RUN}; and contains -- -- $words; and return 1
    test -n "$value" -a "$words[-1]" = "--$flag"; and set -e words[-1]
    test -z "$flag"; or not string match -qr -- "^--$flag(=|\\$)" $words
end

# Whether the subcommand is still to come.
function __${IDENTIFIER}_begins
    test (count (commandline -opc)) -eq 1
end

# Whether COMMAND is to come, or its words.
function __${IDENTIFIER}_runs
    set -l words (commandline -opc)
    test "$words[2]" = ${RUN}; and contains -- -- $words
end

# Completes COMMAND and its words as if they stood alone.
function __${IDENTIFIER}_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    set -l rest (string escape -- $words[(math $at + 1)..]) (commandline -ct)
    if test (count $rest) -eq 1
        __fish_complete_command
    else
        complete -C "$rest"
    end
end

${complete} -f
${complete} -n __${IDENTIFIER}_runs -a '(__${IDENTIFIER}_command)'
${SUBCOMMANDS.map(({ name, description }) => `${complete} -n __${IDENTIFIER}_begins -a ${name} -d ${quoted(description)}`).join("\n")}
${ALL.flatMap((command) => fishFlags(complete, command)).join("\n")}
`;
}

function fishFlags(complete: string, { name, flags, takesFile }: Command): string[] {
  const values: Record<Kind, string> = {
    file: "-r -F",
    directory: "-x -a '(__fish_complete_directories)'",
    user: "-x -a '(__fish_complete_users)'",
    group: "-x -a '(__fish_complete_groups)'",
    level: `-x -a '${LOG_LEVELS.join(" ")}'`,
    anything: "-x",
  };
  const takes = `__${IDENTIFIER}_takes ${name === "" ? '""' : name}`;
  const lines = flags.map((flag) => {
    const once = `${takes} ${flag.name}${flag.value === undefined ? "" : " value"}`;
    const condition = REPEATABLE.includes(flag.name) ? takes : once;
    const words = [
      `${complete} -n '${condition}' -l ${flag.name}`,
      ...(flag.letter === undefined ? [] : [`-s ${flag.letter}`]),
      ...(flag.value === undefined ? [] : [values[flag.value.kind]]),
      `-d ${quoted(flag.description)}`,
    ];
    return words.join(" ");
  });
  if (name === RUN) lines.push(`${complete} -n '${takes}' -a '--' -d 'and a COMMAND'`);
  if (takesFile) lines.push(`${complete} -n '${takes}' -F`);
  return lines;
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, String.raw`\$&`)}'`;
}
