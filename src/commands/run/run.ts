// `responses-api-proxy run -- COMMAND`: starts a proxy, and then becomes COMMAND, with an environment that leads to the proxy and has no key. So COMMAND
// has the pid, the terminal, the signals and the exit code that it has without us.
//
// The key goes past this process: in the standard input that the proxy inherits, or in a file that the proxy opens. Which variables of the
// environment have the key in them, the proxy says, because only it can know.

import { isTerminal, makePipe } from "../../../native/files/descriptors.ts";
import { close, writeAll } from "../../../native/files/files.ts";
import { openProcess, readableEnvironmentsAbove, startBlocks } from "../../../native/process/others.ts";
import { makeUndumpable, parentPid } from "../../../native/process/process.ts";
import { causeOf, EXIT, type ExitCode, UserError } from "../../base/errors.ts";
import { basename, NO_TEXT } from "../../base/paths.ts";
import * as terminal from "../../base/terminal.ts";
import type { Environment } from "../../input/environment.ts";
import type { Options } from "../../input/options.ts";
import { clientEnvironment, valueOf } from "./client-environment.ts";
import { isShim, makeShim, providerFlags, shellFlags, shimPath } from "./codex.ts";
import { executeCommand, findCommand, giveTerminalAsInput, inheritedDescriptors } from "./command.ts";
import { launch, orRefuse, spawnSelf, type Started } from "./launch.ts";

const STANDARD_ERROR = 2;
const CODEX = "codex";
const COMMAND_STARTS = Buffer.from("!");

type Run = {
  options: Options;
  environment: Environment;
  /** How many words COMMAND and its arguments are: the last ones of the process's. */
  words: number;
  /** Whether each codex is to use the proxy. */
  shim: boolean;
};

/** Returns the exit code of a proxy that cannot start; otherwise COMMAND takes this process over. Throws UserError. */
export async function run({ options: given, environment, words, shim }: Run): Promise<ExitCode> {
  // The key's pipe is standard input, and the caller's environment may have the key: other processes of this user could take both.
  makeUndumpable();
  const callers = { parent: parentPid(), inherited: inheritedDescriptors() };
  const { args, variables } = startBlocks();
  const command = args.slice(-words);
  const path = valueOf(variables, "PATH");
  const name = command[0]!;
  const file = findCommand(name, path, isShim);
  if (given.keyFile === undefined && isTerminal(0))
    throw new UserError("standard input is a terminal, and a key must not be typed", undefined, [
      "pipe the key in: printenv OPENAI_API_KEY | responses-api-proxy run -- COMMAND",
      "or name a file that has it: --key-file FILE",
    ]);
  const own = openOwnProcess();
  const options: Options = {
    ...given,
    port: given.port ?? 0,
    exitWithParent: true,
    // What is said while COMMAND draws on the terminal is kept, and told at the end: only what is wrong.
    logLevel: given.logLevel === "info" && given.logFile === undefined ? "warn" : given.logLevel,
  };
  const directory = shim && hasCodex(path) ? shimPath(asText(valueOf(variables, "TMPDIR"))) : undefined;
  let isShimmed = false;
  let watcher: number;
  const meanwhile = (started: Started): void => {
    watcher = leaveWatcher(started, options, { own, shim: directory });
    isShimmed = directory !== undefined && isMade(directory);
  };
  // Root reads the key anyway.
  const above = process.getuid!() === 0 ? [] : readableEnvironmentsAbove();
  const searched = [...variables, ...above.flat()];
  const launched = await launch({ starter: "run", options, environment, variables: searched, meanwhile });
  if (typeof launched === "number") return launched as ExitCode;
  const { port, token } = launched.ready as { port: number; token: string };
  // What is in this environment, the process that started this one has, too, if not where it was born.
  if (above.length > 0 && launched.ready.withKey.length > 0) warnOfCaller();
  const clientVariables = clientEnvironment(variables, launched.ready, {
    port,
    token,
    path: isShimmed ? Buffer.from(directory!).toString("latin1") : undefined,
  });
  if (given.keyFile === undefined) giveTerminalAsInput();
  // The shim is for the calls that COMMAND makes.
  if (shim && basename(name) === CODEX) command.splice(1, 0, ...providerFlags(port));
  writeAll(watcher!, COMMAND_STARTS);
  executeCommand(file, command, clientVariables, callers);
}

function warnOfCaller(): void {
  terminal.warning("COMMAND can read the key: the process that started run has it in its environment", [
    "pipe it in from where COMMAND cannot read it, such as a password manager; or have root start the proxy, with --user",
  ]);
}

/** Text of what was bytes in latin1; undefined if it is none, or there was nothing. */
function asText(latin1: string | undefined): string | undefined {
  if (latin1 === undefined) return undefined;
  const text = Buffer.from(latin1, "latin1").toString();
  return text.includes(NO_TEXT) ? undefined : text;
}

function hasCodex(path: string | undefined): boolean {
  try {
    findCommand(CODEX, path, isShim);
    return true;
  } catch {
    return false;
  }
}

function isMade(directory: string): boolean {
  const cause = makeShim(directory);
  if (cause === undefined) return true;
  terminal.warning(
    `codex does not use the proxy by itself: its shim '${directory}' cannot be made (${cause})`,
    ["set TMPDIR to a directory where nobody else can write, or give codex the lines of run --print-env"],
  );
  return false;
}

/** A pidfd of this process, for the watcher. Throws UserError. */
function openOwnProcess(): number {
  try {
    return openProcess(process.pid);
  } catch (error) {
    throw new UserError(`run cannot watch over COMMAND here (${causeOf(error)})`, undefined, [
      "pidfd_open(2) is required: Linux 5.3, and a container must allow it; --background starts a proxy without it",
    ]);
  }
}

/**
 * It takes over the socket and the standard error of the proxy when this process has become COMMAND, or ended: then the writing end of a pipe is
 * closed that only this process has. Returns that end, to be told that COMMAND starts.
 */
function leaveWatcher(
  { channel, errors, pid }: Started,
  options: Options,
  { own, shim }: { own: number; shim: string | undefined },
): number {
  const words = ["watch", ...(options.logJson ? ["--log-json"] : [])];
  return orRefuse(() => {
    const start = makePipe();
    spawnSelf(
      [...words, ...(shim === undefined ? [] : [`--shim=${shim}`])],
      ["ignore", "ignore", STANDARD_ERROR, channel, errors!, own, openProcess(pid), start.reader],
      {},
    );
    close(start.reader);
    return start.writer;
  });
}

/** `run --print-env`: what COMMAND gets, and what programs need that do not look there. */
export function printEnvironment(): ExitCode {
  terminal.output(`COMMAND's environment is the caller's, without the key, and with:

  OPENAI_BASE_URL, OPENAI_API_BASE   http://127.0.0.1:PORT/v1
  OPENAI_API_KEY                     the client token: of use for this proxy alone
  RESPONSES_API_PROXY_URL            http://127.0.0.1:PORT
  RESPONSES_API_PROXY_TOKEN          the client token, for codex
  NO_PROXY, no_proxy                 127.0.0.1 and localhost as well
  OPENAI_AGENTS_DISABLE_TRACING      1
  PATH                               first a codex that uses the proxy (--no-shim: not)

Programs that look elsewhere need a line in COMMAND, such as sh -c '…':

  cline      cline auth -p openai-native -k "$OPENAI_API_KEY" -m MODEL -b "$OPENAI_BASE_URL"
  pi         in ~/.pi/agent/models.json: providers.openai.baseUrl = OPENAI_BASE_URL's value
  Continue   in config.yaml: apiBase and apiKey with both values, useResponsesApi: true
  Codex SDK  new Codex({ codexPathOverride: "codex" })
  codex by its path, from another program: codex ${shellFlags()}

With --port N the URL is the same at each start, for files that have it. The token is not.`);
  return EXIT.clean;
}
