// Starts the proxy as a process of its own session. The key goes past this process: it is in the standard input that the proxy inherits.

import { makePipe } from "../../../native/files/descriptors.ts";
import { close } from "../../../native/files/files.ts";
import { mayLockAnyMemory } from "../../../native/process/credentials.ts";
import { resetSignals } from "../../../native/process/others.ts";
import { socketPair } from "../../../native/sockets/pair.ts";
import { causeOf, type ExitCode, UserError } from "../../base/errors.ts";
import { reportUnusedProxyVariables } from "../../input/advice/mistakes.ts";
import { cleanEnvironment, type Environment } from "../../input/environment.ts";
import { type Options, toArguments } from "../../input/options.ts";
import { PARENT, STARTER } from "../../input/starter.ts";
import { copyIfReadable, programWords } from "../../lockdown/reexec.ts";

const SELF = "/proc/self/exe";
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

/**
 * Starts a proxy. Of the caller's environment it gets the listed variables only, and of its descriptors none but standard input (without --key-file) and
 * standard error (with --background). So its two starts can be one process (lockdown/starts.ts). Throws UserError.
 */
export function startProxy(starter: "run" | "background", options: Options, caller: Environment): Proxy {
  // If the caller ignores it, the kernel forgets how children ended.
  resetSignals(["SIGCHLD"]);
  // Told here, because the proxy does not get these variables.
  reportUnusedProxyVariables(options, caller);
  const { keyFile, user } = options;
  const args = [...toArguments(options), ...(keyFile === undefined ? [] : [`--key-file=${keyFile}`])];
  const env = { ...caller, [STARTER]: starter, [PARENT]: String(process.pid) };
  const environment = cleanEnvironment(env, "prepared");
  return orRefuse(() => {
    const { own: channel, other } = socketPair();
    const pipe = starter === "run" ? makePipe() : undefined;
    const input = keyFile === undefined ? STANDARD_INPUT : "ignore";
    const stdio = [input, other, pipe?.writer ?? STANDARD_ERROR] as const;
    const child = spawnUnreadable(user, (file) => spawnSelf(args, stdio, environment, file));
    close(other);
    if (pipe !== undefined) close(pipe.writer);
    return {
      pid: child.pid,
      channel,
      errors: pipe?.reader,
      exitCode: async () => ((await child.exited) ?? KILLED) as ExitCode,
    };
  });
}

/**
 * Spawns from a copy if the user can read the program's file: then other processes of this user cannot look into the new one from its birth. In three
 * cases the proxy makes the copy itself, and executes it: with --user, because that is the user who must not read it; if the file has
 * CAP_IPC_LOCK, which an execve of the copy must keep; and if this copy is not executed.
 */
function spawnUnreadable(user: string | undefined, spawn: (file?: string) => Bun.Subprocess): Bun.Subprocess {
  const image = user !== undefined || mayLockAnyMemory() ? undefined : copyIfReadable();
  if (image === undefined) return spawn();
  try {
    return spawn(`/proc/self/fd/${image}`);
  } catch {
    // As when a security module forbids execution from the disk: the proxy makes a copy in memory, or says why not.
    return spawn();
  } finally {
    close(image);
  }
}

/** Starts this program again, from its file or a copy of it, in a session of its own and in a directory that is always there; `stdio` has its descriptors from 0 on. */
export function spawnSelf(
  args: readonly string[],
  stdio: readonly (number | "ignore")[],
  environment: Environment,
  file = SELF,
): Bun.Subprocess {
  const [name, ...words] = programWords();
  return Bun.spawn([file, ...words, ...args], {
    argv0: name!,
    stdio: [...stdio] as [number, number, number],
    detached: true,
    env: environment,
    cwd: "/",
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
