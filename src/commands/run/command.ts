// COMMAND: found before the proxy is started, and executed in the place of this process.

import { ENOEXEC, SystemCallError } from "../../../native/ffi/libc.ts";
import { isTerminal, keepOnExec, replaceBy, replaceByNullDevice } from "../../../native/files/descriptors.ts";
import { entriesOf } from "../../../native/files/entries.ts";
import { O_RDWR, open, readLink } from "../../../native/files/files.ts";
import { isExecutable, statusAt } from "../../../native/files/paths.ts";
import { takeSignalsFrom } from "../../../native/process/others.ts";
import { execute, lowerFileLimitTo } from "../../../native/process/process.ts";
import { EXIT, UserError } from "../../base/errors.ts";
import { quote } from "../../input/arguments.ts";

/** What COMMAND is to have as if the caller had executed it. */
export type Callers = Readonly<{
  /** The caller's pid. */
  parent: number;
  /** The caller's descriptors from 3 on. */
  inherited: readonly number[];
}>;

/** What execvp(3) and the shells take if there is no PATH. */
export const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";

/** The file that a shell would execute, and that is not to be `skipped`. Throws UserError with exit code 127 if there is none, 126 if it is not executable. */
export function findCommand(
  name: string,
  path: string | undefined,
  skipped: (file: string) => boolean = () => false,
): string {
  const candidates = name.includes("/")
    ? [name]
    : (path ?? DEFAULT_PATH).split(":").map((directory) => `${directory === "" ? "." : directory}/${name}`);
  const found = candidates.map((candidate) => ({ candidate, what: look(candidate) }));
  const executable = found.find(({ candidate, what }) => what === "executable" && !skipped(candidate));
  if (executable !== undefined) return executable.candidate;
  const shown = quote(Buffer.from(name, "latin1").toString());
  if (found.some(({ what }) => what === "file"))
    throw new UserError(`COMMAND ${shown} cannot be executed`, EXIT.notExecutable, [
      "see that this user may execute it: chmod +x",
    ]);
  if (name.includes("/") && found[0]!.what === "other")
    throw new UserError(`COMMAND ${shown} is no file`, EXIT.notExecutable);
  throw new UserError(`no COMMAND ${shown}`, EXIT.notFound, [
    name.includes("/")
      ? "there is no such file"
      : "no directory of PATH has it; aliases and built-ins of a shell have no file",
  ]);
}

function look(path: string): "executable" | "file" | "other" | undefined {
  const found = statusAt(path, "latin1");
  if (found === undefined) return undefined;
  if (found.kind !== "file") return "other";
  return isExecutable(path, "latin1") ? "executable" : "file";
}

/**
 * The descriptors from 3 on that the caller gave, if it is called before anything is opened. The runtime marks them close-on-exec at its start, and
 * has only an epoll and an eventfd of its own open (Bun 1.4.5).
 */
export function inheritedDescriptors(): number[] {
  return entriesOf("/proc/self/fd")
    .map(Number)
    .filter((fd) => {
      try {
        return (
          fd > 2 && !/^anon_inode:\[event(poll|fd)\]|^\/proc\/\d+\/fd$/.test(readLink(`/proc/self/fd/${fd}`))
        );
      } catch {
        // The one that reads the directory.
        return false;
      }
    });
}

/** COMMAND's standard input, in place of the pipe that the key came through: the terminal, or nothing if there is none. */
export function giveTerminalAsInput(): void {
  try {
    const fd = open("/dev/tty", O_RDWR);
    if (isTerminal(fd)) return replaceBy(0, fd);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
  }
  replaceByNullDevice(0);
}

/** Replaces this process by COMMAND, with what the runtime has changed put back. Returns only by throwing UserError. */
export function executeCommand(
  file: string,
  args: readonly string[],
  variables: readonly string[],
  { parent, inherited }: Callers,
): never {
  takeSignalsFrom(parent);
  lowerFileLimitTo(parent);
  for (const fd of inherited) keepOnExec(fd);
  const cause = executeOrWhy(file, args, variables);
  // A script without #!, as every shell takes it (execvp(3)).
  const final =
    cause.errno === ENOEXEC ? executeOrWhy("/bin/sh", ["sh", file, ...args.slice(1)], variables) : cause;
  throw new UserError(`COMMAND ${quote(args[0]!)} cannot be executed (${final.message})`, EXIT.notExecutable);
}

/** Returns only if it fails. */
function executeOrWhy(file: string, args: readonly string[], variables: readonly string[]): SystemCallError {
  try {
    return execute(file, args, variables, "latin1");
  } catch (error) {
    if (error instanceof SystemCallError) return error;
    throw error;
  }
}
