// The completion for zsh.

import { LOG_LEVELS } from "../../src/base/terminal.ts";
import { REPEATABLE } from "../../src/input/flags.ts";
import { type Command, type Kind, NAMES, PROGRAM, RUN, START, SUBCOMMANDS } from "./commands.ts";

/** The completion for zsh, a file for a directory in fpath. */
export function zsh(): string {
  return `#compdef ${PROGRAM}
# zsh completion for ${PROGRAM}

local -a flags subcommands
subcommands=(
${SUBCOMMANDS.map(({ name, description }) => `  ${quoted(`${name}:${description}`)}`).join("\n")}
)
if (( CURRENT > 2 )) && [[ $words[2] == (${NAMES}) ]]; then
  shift words
  (( CURRENT-- ))
fi
case $words[1] in
${SUBCOMMANDS.map((command) => `  ${command.name})\n${zshFlags(command)}\n    ;;`).join("\n")}
  *)
${zshFlags(START)}
    (( CURRENT == 2 )) && flags+=('1:command:{ _describe -t commands command subcommands }')
    ;;
esac
_arguments $flags
`;
}

function zshFlags({ name, flags, takesFile }: Command): string {
  const actions: Record<Kind, string> = {
    file: "_files",
    directory: "_files -/",
    user: "_users",
    group: "_groups",
    level: `(${LOG_LEVELS.join(" ")})`,
    anything: " ",
  };
  const specs = flags.flatMap((flag) => {
    const names = [`--${flag.name}`, ...(flag.letter === undefined ? [] : [`-${flag.letter}`])];
    const before = REPEATABLE.includes(flag.name) ? "*" : names.length > 1 ? `(${names.join(" ")})` : "";
    const value = flag.value === undefined ? "" : `:${flag.value.hint}:${actions[flag.value.kind]}`;
    const sentence = flag.description.replace(/[\\[\]:]/g, String.raw`\$&`);
    return names.map((word) => `${before}${word}${flag.value === undefined ? "" : "="}[${sentence}]${value}`);
  });
  if (name === RUN) specs.push("*:-- and a COMMAND:(--)");
  if (takesFile) specs.push("1:FILE:_files");
  const behind = `    local at=$words[(ie)--]
    if (( at < CURRENT )); then
      shift at words
      (( CURRENT -= at ))
      _normal
      return
    fi
`;
  return `${name === RUN ? behind : ""}    flags=(\n${specs.map((spec) => `      ${quoted(spec)}`).join("\n")}\n    )`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
