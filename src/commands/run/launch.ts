// Starts the proxy as a process of its own session. The key goes past this process: it is in the standard input that the proxy inherits.

import { makePipe } from "../../../native/files/descriptors.ts";
import { close } from "../../../native/files/files.ts";
import { copyImageInMemory } from "../../../native/process/image.ts";
import { resetSignals } from "../../../native/process/others.ts";
import { socketPair } from "../../../native/sockets/pair.ts";
import { causeOf, type ExitCode, UserError } from "../../base/errors.ts";
import type { Environment } from "../../input/environment.ts";
import { type Options, toArguments } from "../../input/options.ts";
import { PARENT, STARTER } from "../../input/starter.ts";
import { programWords } from "../../lockdown/reexec.ts";
import { restrictThread } from "../../lockdown/starts.ts";

/** Environment variables that are known to hold a key. */
export const KEY_VARIABLES: readonly string[] = [
  "OPENAI_API_KEY",
  "CODEX_API_KEY",
  "OPENAI_ADMIN_KEY",
  "AZURE_OPENAI_API_KEY",
];

const STANDARD_INPUT = 0;
const STANDARD_ERROR = 2;
/** What a shell returns for a program that a signal has ended: 128 and the signal's number. */
const KILLED = 128;

/** A proxy that has been started. */
export type Proxy = {
  pid: number;
  /** The socket to the proxy. */
  channel: number;
  /** The proxy's standard error: a pipe's reading end; undefined if it is the caller's. */
  errors: number | undefined;
  /** Resolves when it has ended. */
  exitCode: () => Promise<ExitCode>;
};

type Descriptors = readonly (number | "ignore")[];

/**
 * Starts a proxy. The calling thread takes the proxy's first start, and stays as restricted as that: it can start nothing else. With --user a
 * process of its own does: other processes of that user could change the limits of this one (prlimit(2)). Throws UserError.
 */
export function startProxy(starter: "run" | "background", options: Options, caller: Environment): Proxy {
  // If the caller ignores it, the kernel forgets how children ended.
  resetSignals(["SIGCHLD"]);
  const [{ own: channel, other }, pipe] = orRefuse(
    () => [socketPair(), starter === "run" ? makePipe() : undefined] as const,
  );
  const environment = { ...caller, [STARTER]: starter, [PARENT]: String(process.pid) };
  const output: Descriptors = [other, pipe?.writer ?? STANDARD_ERROR];
  const child =
    options.user === undefined
      ? startRestricted(options, environment, output)
      : startAsUser(options, environment, output);
  close(other);
  if (pipe !== undefined) close(pipe.writer);
  return {
    pid: child.pid,
    channel,
    errors: pipe?.reader,
    exitCode: async () => ((await child.exited) ?? KILLED) as ExitCode,
  };
}

/** The second start, from this thread. */
function startRestricted(options: Options, environment: Environment, output: Descriptors): Bun.Subprocess {
  const umask = process.umask();
  try {
    const next = restrictThread([], options, environment);
    const stdio = [next.keyFile ?? STANDARD_INPUT, ...output];
    const execute = (file: string): Bun.Subprocess =>
      orRefuse(() => spawn(file, next.args, stdio, { env: next.environment, cwd: "/" }));
    if (next.image === undefined) return execute("/proc/self/exe");
    try {
      return execute(`/proc/self/fd/${next.image}`);
    } catch {
      // As when a security module forbids execution from the disk.
      return execute(`/proc/self/fd/${copyImageInMemory()}`);
    }
  } finally {
    // It is the whole process's.
    process.umask(umask);
  }
}

function startAsUser(options: Options, environment: Environment, output: Descriptors): Bun.Subprocess {
  const { keyFile } = options;
  return orRefuse(() =>
    spawnSelf(
      [...toArguments(options), ...(keyFile === undefined ? [] : [`--key-file=${keyFile}`])],
      [keyFile === undefined ? STANDARD_INPUT : "ignore", ...output],
      withoutKeys(environment),
    ),
  );
}

/** Starts this program's file again with these arguments, in a session of its own; `stdio` has its descriptors from 0 on. */
export function spawnSelf(
  args: readonly string[],
  stdio: Descriptors,
  environment: Environment,
): Bun.Subprocess {
  return spawn("/proc/self/exe", args, stdio, { env: environment });
}

function spawn(
  file: string,
  args: readonly string[],
  stdio: Descriptors,
  options: { env: Environment; cwd?: string },
): Bun.Subprocess {
  const [name, ...words] = programWords();
  return Bun.spawn([file, ...words, ...args], {
    argv0: name!,
    stdio: [...stdio] as [number, number, number],
    detached: true,
    ...options,
  });
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
