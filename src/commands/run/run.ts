// `responses-api-proxy run -- COMMAND`: starts a proxy, and then becomes COMMAND, with an environment that leads to the proxy and has no key. So COMMAND
// has the pid, the terminal, the signals and the exit code that it has without us.
//
// The key goes past this process: in the standard input that the proxy inherits, or in a file that the proxy opens. Which variables of the
// environment have the key in them, the proxy says, because only it can know.

import { isTerminal } from "../../../native/files/descriptors.ts";
import { openProcess, startBlocks } from "../../../native/process/others.ts";
import { makeUndumpable, parentPid } from "../../../native/process/process.ts";
import { causeOf, EXIT, type ExitCode, UserError } from "../../base/errors.ts";
import * as terminal from "../../base/terminal.ts";
import type { Environment } from "../../input/environment.ts";
import type { Options } from "../../input/options.ts";
import { becomeCommand } from "./become.ts";
import { valueOf } from "./client-environment.ts";
import { isShim, shellFlags } from "./codex.ts";
import { findCommand, inheritedDescriptors } from "./command.ts";
import { startProxy } from "./launch.ts";

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
  const { args: all, variables } = startBlocks();
  const args = all.slice(-words);
  const file = findCommand(args[0]!, valueOf(variables, "PATH"), isShim);
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
  const proxy = startProxy("run", options, environment);
  const { keyFile, logJson } = given;
  becomeCommand(proxy, {
    file,
    args,
    variables,
    callers,
    own,
    shim,
    isInputFree: keyFile === undefined,
    logJson,
  });
  return await proxy.exitCode();
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
