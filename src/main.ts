#!/usr/bin/env bun
// The entry point, and the only place that exits: options → rebirth → run; whatever is thrown → message and exit code.

import { isCommand, usage, versionLine } from "./cli.ts";
import { EXIT, type ExitCode, UserError } from "./errors.ts";
import { parseOptions } from "./options.ts";
import { isReborn, rebirth } from "./rebirth.ts";
import { run } from "./run.ts";
import * as terminal from "./terminal.ts";

async function main(): Promise<ExitCode> {
  const environment = { ...process.env } as Record<string, string>;
  terminal.recogniseJournal(environment);
  const [word, ...rest] = process.argv.slice(2);
  if (isCommand(word)) {
    // Here and not above: none of it is for the proxy itself, each start of which starts the program twice.
    const { runCommand } = await import("./commands.ts");
    return await runCommand(word, rest, environment);
  }
  const options = parseOptions(process.argv.slice(2));
  if (options === "help" || options === "version") {
    terminal.output(options === "help" ? await usage() : versionLine());
    return EXIT.clean;
  }
  terminal.setStyle(options);
  if (!isReborn(environment)) rebirth(options, environment);
  await run(options, environment);
  return EXIT.clean;
}

function exitCodeOf(thrown: unknown): ExitCode {
  terminal.failure(thrown);
  return thrown instanceof UserError ? thrown.exitCode : EXIT.internal;
}

process.on("uncaughtException", (thrown) => process.exit(exitCodeOf(thrown)));
process.on("unhandledRejection", (thrown) => process.exit(exitCodeOf(thrown)));
process.exit(await main().catch(exitCodeOf));
