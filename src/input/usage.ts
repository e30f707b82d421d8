// The texts of --help and --version.

import type { ArgsDef } from "citty";

import { BUILT_FOR } from "../../native/ffi/architecture.ts";
import { description } from "../../package.json" with { type: "json" };
import { name, version } from "../base/version.ts";
import { type CommandName, COMMANDS, FLAGS, publicCommands } from "./flags.ts";

/** The text of `<command> --help`, without colours. */
export async function commandUsage(command: CommandName): Promise<string> {
  const { defineCommand, renderUsage } = await import("citty");
  const { description: sentence, args } = COMMANDS[command];
  const meta = { name: `${name} ${command}`, version, description: sentence };
  return plain(await renderUsage(defineCommand({ meta, args: args as ArgsDef })));
}

/** The text of --help, without colours. */
export async function usage(): Promise<string> {
  // Imported lazily: each start of the proxy starts the program twice and needs no help text.
  const { defineCommand, renderUsage } = await import("citty");
  const subCommands = Object.fromEntries(
    publicCommands().map((command) => {
      const { description: sentence, args } = COMMANDS[command];
      return [
        command,
        defineCommand({ meta: { name: command, description: sentence }, args: args as ArgsDef }),
      ];
    }),
  );
  const command = defineCommand({ meta: { name, version, description }, args: FLAGS, subCommands });
  const names = publicCommands().join("|");
  return [
    // citty shows a subcommand as if one had to be given.
    plain(await renderUsage(command)).replace(` ${names}`, `\n      ${name} ${names} …`),
    "",
    "The key is read from standard input:",
    "",
    "  printenv OPENAI_API_KEY | env -u OPENAI_API_KEY \\",
    "    responses-api-proxy --server-info FILE",
  ].join("\n");
}

/** The text of --version. */
export function versionLine(): string {
  return `${name} ${version} (Bun ${Bun.version}, ${BUILT_FOR})`;
}

/** Without colours, and wrapped for a terminal of 80 columns: a line goes on in its own column. */
function plain(text: string): string {
  const lines = Bun.stripANSI(text).trimEnd().split("\n");
  return lines.flatMap((line) => wrap(line.trimEnd())).join("\n");
}

function wrap(line: string): string[] {
  const column = /^(?: *\S.*? {2,}| +)(?=\S)/.exec(line)?.[0].length ?? 0;
  const end = line.length <= COLUMNS ? -1 : line.lastIndexOf(" ", COLUMNS);
  if (end <= column) return [line];
  return [line.slice(0, end), ...wrap(" ".repeat(column) + line.slice(end + 1))];
}

const COLUMNS = 80;
