// The completion for bash.

import { LOG_LEVELS } from "../../src/base/terminal.ts";
import { REPEATABLE } from "../../src/input/flags.ts";
import { ALL, type Command, type Kind, PROGRAM, RUN, START, SUBCOMMANDS } from "./commands.ts";

const IDENTIFIER = PROGRAM.replaceAll("-", "_");

/** The completion for bash, with or without the package bash-completion. */
export function bash(): string {
  const flagsOf = (kind: Kind): string[] => [
    ...new Set(
      ALL.flatMap(({ flags }) => flags.filter(({ value }) => value?.kind === kind)).map(
        ({ name }) => `--${name}`,
      ),
    ),
  ];
  const lines = (kind: Kind, reply: string): string[] => [
    `    ${flagsOf(kind).join("|")})`,
    ...reply.split("\n").map((line) => `      ${line}`),
    "      return",
    "      ;;",
  ];
  const reply = (what: string): string => `mapfile -t COMPREPLY < <(compgen -P "$prefix" ${what} -- "$cur")`;
  return `# bash completion for ${PROGRAM}

_${IDENTIFIER}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} flag=\${COMP_WORDS[COMP_CWORD - 1]} prefix= command= flags word i
  COMPREPLY=()
  # Readline takes --flag=value apart at the =, unless COMP_WORDBREAKS lacks it.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $flag == = ]]; then
    flag=\${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $cur == --*=* ]]; then
    flag=\${cur%%=*} prefix=\${cur%%=*}= cur=\${cur#*=}
  fi
  if ((COMP_CWORD > 1)); then
    command=\${COMP_WORDS[1]}
  fi
  if [[ $command == ${RUN} ]]; then
    for ((i = 2; i < COMP_CWORD; i++)); do
      [[ \${COMP_WORDS[i]} == -- ]] || continue
      if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset $((i + 1))
      elif declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      elif ((COMP_CWORD == i + 1)); then
        ${reply("-c")}
      else
        compopt -o filenames
        ${reply("-f")}
      fi
      return
    done
  fi
  case $flag in
${[
  ...lines("file", `compopt -o filenames\n${reply("-f")}`),
  ...lines("directory", `compopt -o filenames\n${reply("-d")}`),
  ...lines("user", reply("-u")),
  ...lines("group", reply("-g")),
  ...lines("level", reply(`-W '${LOG_LEVELS.join(" ")}'`)),
  ...lines("anything", "COMPREPLY=()"),
].join("\n")}
  esac
  case $command in
${SUBCOMMANDS.map((command) => `    ${command.name}) ${bashFlags(command)} ;;`).join("\n")}
    *) ${bashFlags(START)} ;;
  esac
  if ((COMP_CWORD == 1)); then
    flags+='${SUBCOMMANDS.map(({ name }) => name).join(" ")} '
  fi
  # A flag is given once.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      ${REPEATABLE.map((name) => `--${name}`).join("|")}) ;;
      *) flags=\${flags/ "$word" / } ;;
    esac
  done
  if [[ ${SUBCOMMANDS.filter(({ takesFile }) => takesFile)
    .map(({ name }) => `$command == ${name}`)
    .join(" || ")} ]] && [[ $cur != -* ]]; then
    compopt -o filenames
    ${reply("-f")}
    return
  fi
  ${reply('-W "$flags"')}
}

complete -F _${IDENTIFIER} ${PROGRAM}
`;
}

function bashFlags({ name, flags }: Command): string {
  const words = [...flags.map((flag) => `--${flag.name}`), ...(name === RUN ? ["--"] : [])];
  return `flags=' ${words.join(" ")} '`;
}
