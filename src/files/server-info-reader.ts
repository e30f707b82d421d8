// Reads a server-info file if only trusted users could have put it there: the file decides where prompts go.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, readAt, statusOf } from "../../native/files/files.ts";
import { basename, dirname, resolve } from "../base/paths.ts";
import { strangerAt } from "./owners.ts";

const MAX_FILE_BYTES = 4096;

/** What the file says. */
type ServerInfo = {
  /** Undefined if the proxy listens on a socket only. */
  port: number | undefined;
  socket: string | undefined;
  pid: number;
  uid: number;
  modified: Date;
};

/** Why it is not believed. `owner`: the one user who could have put it there and is not trusted. */
type Unbelieved = { reason: string; owner?: number };

/** Reads the file if nobody but the trusted users could have put it there. */
export function readServerInfo(file: string, trusted: readonly number[]): ServerInfo | Unbelieved {
  const path = resolve(file);
  try {
    const directory = Directory.open(dirname(path), (step, found) =>
      refuseStrangers(`the ${found.kind} ${step}`, found, trusted),
    );
    let fd: number | undefined;
    try {
      const found = directory.find(basename(path));
      if (found === undefined) return { reason: "there is no such file" };
      if (found.kind !== "file") return { reason: `it is a ${found.kind}` };
      fd = directory.read(basename(path));
      return parseServerInfo(fd, trusted);
    } finally {
      if (fd !== undefined) close(fd);
      directory.close();
    }
  } catch (error) {
    if (error instanceof StrangerError)
      return { reason: error.message, ...(error.owner === undefined ? {} : { owner: error.owner }) };
    if (!(error instanceof SystemCallError)) throw error;
    return {
      reason: error.code === "ENOENT" ? "there is no such file" : `it cannot be read (${error.code})`,
    };
  }
}

function parseServerInfo(fd: number, trusted: readonly number[]): ServerInfo | Unbelieved {
  const found = statusOf(fd);
  refuseStrangers("the file", found, trusted);
  const space = Buffer.alloc(MAX_FILE_BYTES);
  const text = space.toString("utf8", 0, readAt(fd, space, 0));
  const info = parse(text);
  if (info === undefined) return { reason: "it is no server-info file" };
  return { ...info, uid: found.uid, modified: found.modified };
}

/** One line of JSON, with a port, a socket or both, and nothing else. */
function parse(text: string): Pick<ServerInfo, "port" | "socket" | "pid"> | undefined {
  const [, port, socket, pid] =
    /^\{(?:"port":(\d{1,5}),)?(?:"socket":("(?:[^"\\]|\\.)*"),)?"pid":([1-9]\d{0,9})\}\n$/.exec(text) ?? [];
  if (pid === undefined || (port === undefined && socket === undefined) || Number(port ?? 0) > 65_535)
    return undefined;
  try {
    const path = socket === undefined ? undefined : (JSON.parse(socket) as string);
    return { port: port === undefined ? undefined : Number(port), socket: path, pid: Number(pid) };
  } catch {
    return undefined;
  }
}

/** Somebody else could have put the file there. */
class StrangerError extends Error {
  constructor(
    message: string,
    readonly owner?: number,
  ) {
    super(message);
  }
}

function refuseStrangers(what: string, found: FileStatus, trusted: readonly number[]): void {
  const stranger = strangerAt(found, trusted);
  if (typeof stranger === "number") throw new StrangerError(`${what} is user ${stranger}'s`, stranger);
  if (stranger !== undefined) throw new StrangerError(`others may write to ${what}`);
}
