// What the two threads of `run` say to each other, through two pipes: a JSON text each, to the pipe's end. Not by messages: the first thread would have
// to let the runtime's event loop turn, which lets in the signals that the caller has blocked, and reaps the proxy before the second one knows it.

import { readToEnd } from "../../../native/files/descriptors.ts";
import { close, writeAll } from "../../../native/files/files.ts";
import type { ExitCode } from "../../base/errors.ts";
import type { Style } from "../../base/terminal.ts";
import type { Callers } from "./command.ts";
import type { Proxy } from "./launch.ts";

/** What the first thread hands over. */
export type Inheritance = Readonly<{
  proxy: Omit<Proxy, "exitCode">;
  command: Readonly<{
    file: string;
    /** How many words COMMAND and its arguments are: the last ones of the process's. */
    words: number;
    callers: Callers;
    /** A pidfd of this process. */
    own: number;
    /** Whether each codex is to use the proxy. */
    shim: boolean;
    /** Whether standard input was the key's, and is COMMAND's to have anew. */
    isInputFree: boolean;
  }>;
  style: Style;
}>;

/** The exit code if COMMAND cannot be executed; null if the proxy has ended: then its exit code counts. */
export type Reply = Readonly<{ exitCode: ExitCode | null }>;

/** Writes what is said, and closes the pipe. Waits if it is more than the pipe holds. */
export function say(fd: number, said: Inheritance | Reply): void {
  writeAll(fd, Buffer.from(JSON.stringify(said)));
  close(fd);
}

/** Waits for what the other thread says. Reads to the end of the pipe, and closes it. */
export function hear(fd: number): unknown {
  const said = readToEnd(fd).toString();
  close(fd);
  return JSON.parse(said);
}
