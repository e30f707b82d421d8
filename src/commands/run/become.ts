// The second half of `run`: waits until the proxy accepts connections, and becomes COMMAND.

import { makePipe } from "../../../native/files/descriptors.ts";
import { close, writeAll } from "../../../native/files/files.ts";
import { openProcess, readableEnvironmentsAbove } from "../../../native/process/others.ts";
import { basename, NO_TEXT } from "../../base/paths.ts";
import * as terminal from "../../base/terminal.ts";
import { clientEnvironment, valueOf } from "./client-environment.ts";
import { isShim, makeShim, providerFlags, shimPath } from "./codex.ts";
import { type Callers, executeCommand, findCommand, giveTerminalAsInput } from "./command.ts";
import { orRefuse, type Proxy, spawnSelf } from "./launch.ts";
import { awaitReady, passOn, send } from "./ready.ts";

const STANDARD_ERROR = 2;
const CODEX = "codex";
const COMMAND_STARTS = Buffer.from("!");

/** COMMAND, and what it is to get. */
export type Command = Readonly<{
  /** The file that is executed. */
  file: string;
  /** Its words, and the caller's variables, `NAME=value` each: bytes in latin1. */
  args: readonly string[];
  variables: readonly string[];
  callers: Callers;
  /** A pidfd of this process. */
  own: number;
  /** Whether each codex is to use the proxy. */
  shim: boolean;
  /** Whether standard input was the key's, and is COMMAND's to have anew. */
  isInputFree: boolean;
  /** Whether the totals are to be JSON. */
  logJson: boolean;
}>;

/**
 * Returns if the proxy has ended before it accepted connections. Throws UserError.
 *
 * TAKE CARE: nothing here waits for the event loop. Its turn would let in the signals that the caller has blocked, and reap the proxy before the
 * watcher has it.
 */
export function becomeCommand(proxy: Proxy, command: Command): void {
  const { variables, own, logJson } = command;
  const args = [...command.args];
  const path = valueOf(variables, "PATH");
  // Root reads the key anyway.
  const above = process.getuid!() === 0 ? [] : readableEnvironmentsAbove();
  const directory =
    command.shim && hasCodex(path) ? shimPath(asText(valueOf(variables, "TMPDIR"))) : undefined;
  const watcher = leaveWatcher(proxy, { own, shim: directory, logJson });
  const isShimmed = directory !== undefined && isMade(directory);
  if (command.isInputFree) giveTerminalAsInput();
  send(proxy.channel, [...variables, ...above.flat()]);
  const ready = awaitReady(proxy);
  if (ready === undefined) {
    if (proxy.errors !== undefined) while (passOn(proxy.errors));
    return;
  }
  const { port, token } = ready as { port: number; token: string };
  // What is in this environment, the process that started this one has, too, if not where it was born.
  if (above.length > 0 && ready.withKey.length > 0) warnOfCaller();
  const clientVariables = clientEnvironment(variables, ready, {
    port,
    token,
    path: isShimmed ? Buffer.from(directory!).toString("latin1") : undefined,
  });
  // The shim is for the calls that COMMAND makes.
  if (command.shim && basename(args[0]!) === CODEX) args.splice(1, 0, ...providerFlags(port));
  writeAll(watcher, COMMAND_STARTS);
  executeCommand(command.file, args, clientVariables, command.callers);
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

/**
 * It takes over the socket and the standard error of the proxy when this process has become COMMAND, or ended: then the writing end of a pipe is
 * closed that only this process has. Returns that end, to be told that COMMAND starts.
 */
function leaveWatcher(
  { channel, errors, pid }: Proxy,
  { own, shim, logJson }: { own: number; shim: string | undefined; logJson: boolean },
): number {
  const words = ["watch", ...(logJson ? ["--log-json"] : [])];
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
