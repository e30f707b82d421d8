#!/usr/bin/env bun
// The entry point, and the only place that exits: options → first start → second start → run. Every error becomes a message and an exit code.

import { EXIT, type ExitCode, UserError } from "./base/errors.ts";
import * as terminal from "./base/terminal.ts";
import { wordsAsFlags } from "./input/arguments.ts";
import { isCommand } from "./input/flags.ts";
import { parseOptions } from "./input/options.ts";
import { STARTER } from "./input/starter.ts";
import { isReexeced } from "./lockdown/reexec.ts";
import { firstStart } from "./lockdown/starts.ts";
import { run } from "./run.ts";

async function main(): Promise<ExitCode> {
  const environment = { ...process.env } as Record<string, string>;
  terminal.recogniseJournal(environment);
  const rawArguments = wordsAsFlags(process.argv.slice(2));
  const [word, ...rest] = rawArguments;
  if (isCommand(word)) {
    // Imported lazily: each start of the proxy starts the program twice and needs none of this.
    const { runCommand } = await import("./commands/commands.ts");
    return await runCommand(word, rest, environment);
  }
  const options = parseOptions(rawArguments);
  if (options === "help" || options === "version") {
    const { usage, versionLine } = await import("./input/usage.ts");
    terminal.output(options === "help" ? await usage() : versionLine());
    return EXIT.clean;
  }
  terminal.setStyle(options);
  if (options.background && environment[STARTER] === undefined) {
    const { startInBackground } = await import("./commands/background.ts");
    return await startInBackground(options, environment);
  }
  if (!isReexeced(environment)) firstStart([], options, environment);
  await run(options, environment);
  return EXIT.clean;
}

function exitCodeOf(thrown: unknown): ExitCode {
  const told = thrown instanceof UserError && thrown.exitCode === EXIT.usage ? pointToHelp(thrown) : thrown;
  terminal.failure(told);
  return thrown instanceof UserError ? thrown.exitCode : EXIT.internal;
}

/** If the command line is wrong, the last hint says where all flags are listed. */
function pointToHelp({ message, exitCode, hints }: UserError): UserError {
  const [word] = wordsAsFlags(process.argv.slice(2));
  const program = isCommand(word) ? `responses-api-proxy ${word}` : "responses-api-proxy";
  return new UserError(message, exitCode, [...hints, `${program} --help shows all flags`]);
}

process.on("uncaughtException", (thrown) => process.exit(exitCodeOf(thrown)));
process.on("unhandledRejection", (thrown) => process.exit(exitCodeOf(thrown)));
process.exit(await main().catch(exitCodeOf));
