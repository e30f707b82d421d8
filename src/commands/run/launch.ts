// Starts the proxy as a process of its own session, and waits until it accepts connections. The key goes past this process: it is in the standard
// input that the proxy inherits.

import { makePipe, readOrEnd, waitForAny } from "../../../native/files/descriptors.ts";
import { close, writeAll } from "../../../native/files/files.ts";
import { resetSignals } from "../../../native/process/others.ts";
import { endSending, socketPair } from "../../../native/sockets/pair.ts";
import { causeOf, UserError } from "../../base/errors.ts";
import type { Environment } from "../../input/environment.ts";
import { type Options, toArguments } from "../../input/options.ts";
import { PARENT, type Ready, STARTER } from "../../input/starter.ts";
import { programWords } from "../../lockdown/reexec.ts";

/** Environment variables that are known to hold a key. */
export const KEY_VARIABLES: readonly string[] = [
  "OPENAI_API_KEY",
  "CODEX_API_KEY",
  "OPENAI_ADMIN_KEY",
  "AZURE_OPENAI_API_KEY",
];

const STANDARD_INPUT = 0;
const STANDARD_ERROR = 2;
const CHUNK_BYTES = 65_536;
/** More than a socket takes by default. */
const MAX_MESSAGE_BYTES = 262_144;
/** What a shell returns for a program that a signal has ended: 128 and the signal's number. */
const KILLED = 128;

/** A proxy that has been started. */
export type Started = {
  pid: number;
  /** The socket to the proxy. */
  channel: number;
  /** The proxy's standard error: a pipe's reading end; undefined if it is the caller's. */
  errors: number | undefined;
};

type Launch = {
  starter: "run" | "background";
  options: Options;
  environment: Environment;
  /** `NAME=value` each, in latin1: those that the proxy looks for the key in. */
  variables: readonly string[];
  /** What is to be done while the proxy starts. */
  meanwhile?: (started: Started) => void;
};

/** Starts this program's file again with these arguments, in a session of its own; `stdio` has its descriptors from 0 on. */
export function spawnSelf(
  args: readonly string[],
  stdio: readonly (number | "ignore")[],
  environment: Environment,
): Bun.Subprocess {
  const [name, ...words] = programWords();
  return Bun.spawn(["/proc/self/exe", ...words, ...args], {
    argv0: name!,
    stdio: [...stdio] as [number, number, number],
    env: { ...environment },
    detached: true,
  });
}

/** Resolves once connections are accepted, or with the exit code of a proxy that cannot start, which has said why. */
export async function launch({
  starter,
  options,
  environment,
  variables,
  meanwhile,
}: Launch): Promise<{ ready: Ready; pid: number } | number> {
  // If the caller ignores it, the kernel forgets how children ended.
  resetSignals(["SIGCHLD"]);
  const { keyFile } = options;
  const [{ own: channel, other }, pipe, child] = orRefuse(() => {
    const sockets = socketPair();
    const errors = starter === "run" ? makePipe() : undefined;
    const proxy = spawnSelf(
      [...toArguments(options), ...(keyFile === undefined ? [] : [`--key-file=${keyFile}`])],
      [keyFile === undefined ? STANDARD_INPUT : "ignore", sockets.other, errors?.writer ?? STANDARD_ERROR],
      { ...withoutKeys(environment), [STARTER]: starter, [PARENT]: String(process.pid) },
    );
    return [sockets, errors, proxy];
  });
  close(other);
  if (pipe !== undefined) close(pipe.writer);
  meanwhile?.({ pid: child.pid, channel, errors: pipe?.reader });
  send(channel, variables);
  const ready = awaitReady(channel, pipe?.reader);
  if (ready !== undefined) return { ready, pid: child.pid };
  const exitCode = await child.exited;
  if (pipe !== undefined) while (passOn(pipe.reader));
  return exitCode ?? KILLED;
}

/** Runs a step that takes descriptors or a process. Throws UserError. */
export function orRefuse<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw new UserError(`cannot start another process (${causeOf(error)})`, undefined, [
      "raise the limits on descriptors and processes: ulimit -n, ulimit -u",
    ]);
  }
}

function withoutKeys(environment: Environment): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !KEY_VARIABLES.includes(name)));
}

/** Waits if it is more than the socket holds. What was sent is wiped: it may have the key in it. */
function send(channel: number, variables: readonly string[]): void {
  const block = Buffer.from(variables.map((variable) => `${variable}\0`).join(""), "latin1");
  try {
    for (let sent = 0; sent < block.length; sent += CHUNK_BYTES)
      writeAll(channel, block.subarray(sent, sent + CHUNK_BYTES));
    endSending(channel);
  } catch {
    // It is gone: its exit code says so.
  }
  block.fill(0);
}

/** The proxy's first message; undefined if it ends before. Meanwhile its standard error is passed on. Blocks: nothing else is to be done. */
function awaitReady(channel: number, errors: number | undefined): Ready | undefined {
  const open = errors === undefined ? [channel] : [channel, errors];
  for (;;) {
    const readable = waitForAny(open);
    // Standard error first: what it said before the message goes on before COMMAND starts.
    if (errors !== undefined && readable.includes(errors)) {
      if (!passOn(errors)) open.length = 1;
      continue;
    }
    if (!readable.includes(channel)) continue;
    const space = Buffer.alloc(MAX_MESSAGE_BYTES);
    const count = readOrEnd(channel, space);
    return count === 0 ? undefined : (JSON.parse(space.toString("utf8", 0, count)) as Ready);
  }
}

/** Copies what there is to standard error. Returns whether there can be more. */
function passOn(errors: number): boolean {
  const space = Buffer.alloc(CHUNK_BYTES);
  const count = readOrEnd(errors, space);
  try {
    writeAll(STANDARD_ERROR, space.subarray(0, count));
  } catch {
    // Nobody reads it.
  }
  return count > 0;
}
