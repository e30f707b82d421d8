// The subcommands: raw arguments → doctor, status or wait. Loaded only if one of them is called: the build's --splitting keeps them, and the
// modules of Node's that they import, out of each start of the proxy.

import { findUser } from "../../native/process/credentials.ts";
import { isMappedUser } from "../../native/process/namespace.ts";
import { EXIT, type ExitCode } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { type Given, quote, readCommandFlags, splitCommand, usageError } from "../input/arguments.ts";
import type { Environment } from "../input/environment.ts";
import type { CommandName, COMMANDS } from "../input/flags.ts";
import { optionsFrom } from "../input/options.ts";
import { commandUsage } from "../input/usage.ts";
import { parseDuration, parsePort, parseSocket } from "../input/values.ts";

const DEFAULT_MAX = "30s";
const MOST_HOURS = 24;

/** Runs a subcommand and returns its exit code. Throws UserError. */
export async function runCommand<Name extends CommandName>(
  command: Name,
  rawArguments: readonly string[],
  environment: Environment,
): Promise<ExitCode> {
  const { own, words } = command === "run" ? splitCommand(rawArguments) : { own: rawArguments, words: 0 };
  const given = readCommandFlags(command, own);
  if (given.help) {
    terminal.output(await commandUsage(command));
    return EXIT.clean;
  }
  return RUN[command](given, environment, words);
}

type Run<Name extends CommandName> = (
  given: Given<(typeof COMMANDS)[Name]["args"]>,
  environment: Environment,
  /** Of run's COMMAND, which stand behind the arguments. */
  words: number,
) => Promise<ExitCode>;

const RUN: { [Name in CommandName]: Run<Name> } = {
  run: async ({ "no-shim": noShim, "print-env": printEnv, ...given }, environment, words) => {
    const { printEnvironment, run } = await import("./run/run.ts");
    if (printEnv) return printEnvironment();
    const options = optionsFrom(given);
    terminal.setStyle(options);
    return await run({ options, environment, words, shim: noShim !== true });
  },
  watch: async (given) => {
    const { watch } = await import("./run/watch.ts");
    terminal.setStyle({ logLevel: "info", logJson: given["log-json"] === true });
    return watch(given.shim);
  },
  doctor: async ({ json, ...given }, environment) => {
    const options = optionsFrom(given);
    const { doctor } = await import("./doctor/doctor.ts");
    return await doctor(options, json === true, environment);
  },
  connect: async (given) => {
    const path = parseSocket("socket", given.socket);
    if (path === undefined)
      throw usageError("connect needs the proxy's socket", ["responses-api-proxy connect --socket PATH"]);
    const port = parsePort(given.port) ?? 0;
    const { connect } = await import("./connect.ts");
    return await connect(path, port);
  },
  status: async (given) => {
    const file = requireServerInfo("status", given["server-info"]);
    const { status } = await import("./status.ts");
    return await status(file, { json: given.json === true, ofUser: uidOf(given["of-user"]) });
  },
  wait: async (given) => {
    const file = requireServerInfo("wait", given["server-info"]);
    const maxMs = parseDuration("max", given.max ?? DEFAULT_MAX, MOST_HOURS);
    const { wait } = await import("./wait.ts");
    return await wait(file, uidOf(given["of-user"]), maxMs);
  },
};

function uidOf(nameOrUid: string | undefined): number | undefined {
  if (nameOrUid === undefined) return undefined;
  const user = findUser(nameOrUid);
  if (user === undefined) throw usageError(`--of-user ${quote(nameOrUid)} is no user`);
  if (!isMappedUser(user.uid))
    throw usageError(
      `--of-user ${quote(nameOrUid)} is user ${user.uid}, whom this user namespace does not map`,
    );
  return user.uid;
}

function requireServerInfo(command: CommandName, file: string | undefined): string {
  if (file !== undefined && file !== "") return file;
  throw usageError(`${command} needs the server-info file`, [
    `responses-api-proxy ${command} FILE, the one that --server-info named at the proxy's start`,
  ]);
}
