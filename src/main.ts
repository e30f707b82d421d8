#!/usr/bin/env bun
// The entry point, and the only place that exits: options → rebirth → run; whatever is thrown → message and exit code.

import { EXIT, type ExitCode, UserError } from "./base/errors.ts";
import * as terminal from "./base/terminal.ts";
import { wordsAsFlags } from "./input/arguments.ts";
import { isCommand, usage, versionLine } from "./input/flags.ts";
import { parseOptions } from "./input/options.ts";
import { reportIgnoredProxies } from "./input/slips.ts";
import { isReborn, rebirth } from "./lockdown/reexec.ts";
import { run } from "./run.ts";

async function main(): Promise<ExitCode> {
  const environment = { ...process.env } as Record<string, string>;
  terminal.recogniseJournal(environment);
  const rawArguments = wordsAsFlags(process.argv.slice(2));
  const [word, ...rest] = rawArguments;
  if (isCommand(word)) {
    // Here and not above: none of it is for the proxy itself, each start of which starts the program twice.
    const { runCommand } = await import("./commands/commands.ts");
    return await runCommand(word, rest, environment);
  }
  const options = parseOptions(rawArguments);
  if (options === "help" || options === "version") {
    terminal.output(options === "help" ? await usage() : versionLine());
    return EXIT.clean;
  }
  terminal.setStyle(options);
  if (!isReborn(environment)) {
    // Here, because the second start does not get these variables.
    reportIgnoredProxies(options, environment);
    rebirth(options, environment);
  }
  await run(options, environment);
  return EXIT.clean;
}

function exitCodeOf(thrown: unknown): ExitCode {
  const told = thrown instanceof UserError && thrown.exitCode === EXIT.usage ? pointToHelp(thrown) : thrown;
  terminal.failure(told);
  return thrown instanceof UserError ? thrown.exitCode : EXIT.internal;
}

/** Whatever is wrong with a command line, the last hint is where all flags are listed. */
function pointToHelp({ message, exitCode, hints }: UserError): UserError {
  const [word] = wordsAsFlags(process.argv.slice(2));
  const program = isCommand(word) ? `responses-api-proxy ${word}` : "responses-api-proxy";
  return new UserError(message, exitCode, [...hints, `${program} --help shows all flags`]);
}

process.on("uncaughtException", (thrown) => process.exit(exitCodeOf(thrown)));
process.on("unhandledRejection", (thrown) => process.exit(exitCodeOf(thrown)));
process.exit(await main().catch(exitCodeOf));
