#!/usr/bin/env bun
// The entry point, and the only place that exits. Every error becomes a message and an exit code.

import { EXIT, type ExitCode, UserError } from "./base/errors.ts";
import * as terminal from "./base/terminal.ts";
import { wordsAsFlags } from "./input/arguments.ts";
import { isCommand } from "./input/flags.ts";

/** The modules behind each call are imported lazily, because none needs all of them. */
async function main(): Promise<ExitCode> {
  const environment = { ...process.env } as Record<string, string>;
  terminal.recogniseJournal(environment);
  const rawArguments = wordsAsFlags(process.argv.slice(2));
  const [word, ...rest] = rawArguments;
  if (isCommand(word)) {
    const { runCommand } = await import("./commands/commands.ts");
    return await runCommand(word, rest, environment);
  }
  const { start } = await import("./run.ts");
  return await start(rawArguments, environment);
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
