// Which places a start writes to: whether each can be written, whose the way there is, and that no two flags lead to the same one.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf } from "../../native/files/files.ts";
import { randomHex } from "../../native/process/memory.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
import { openDumpDirectory } from "./dump-directory.ts";
import { openLogFile } from "./log-file.ts";
import { rootAndSelf, strangerAt } from "./owners.ts";

type Kind = FileStatus["kind"];

/** What a flag names, and what may be there already. */
export type Place = Readonly<{
  flag: "server-info" | "client-token" | "socket";
  path: string;
  /** By mistake or malice, or from an earlier start; anything else has a use of its own. */
  mayReplace: readonly Kind[];
  /** Whether users besides root and the proxy's own may write to its directory. */
  mayBeOpen: boolean;
}>;

export function serverInfoPlace(path: string): Place {
  return { flag: "server-info", path, mayReplace: ["file", "symlink", "FIFO"], mayBeOpen: true };
}

/** The client token's file. Nobody else may write there: they could give out a token of their own. */
export function tokenPlace(path: string): Place {
  return { flag: "client-token", path, mayReplace: ["file", "symlink", "FIFO"], mayBeOpen: false };
}

/** A Unix socket; one of a running proxy, too, is replaced. Nobody else may write there: they could put a socket of their own in its place. */
export function socketPlace(path: string): Place {
  return { flag: "socket", path, mayReplace: ["socket"], mayBeOpen: false };
}

/** The flags that name places. Groups are numbers by now. */
type Written = Readonly<
  Record<
    "serverInfo" | "clientToken" | "clientTokenGroup" | "socket" | "socketGroup" | "logFile" | "dumpDir",
    string | undefined
  >
>;

/** The group that options name by its number. */
export const groupNumber = (gid: string | undefined): number | undefined =>
  gid === undefined ? undefined : Number(gid);

/**
 * Creates the directories that are missing, and checks that all that the proxy will write can be put in its place. `keyFile` is the descriptor of
 * the key file, if there is one. Comes after the change of user, so that root creates nothing and follows nothing that another user could point
 * elsewhere. Throws UserError, also if two flags lead to the same place by different paths: one would replace what the other has written.
 */
export function preparePlaces(written: Written, keyFile: number | undefined): void {
  const { serverInfo, clientToken, socket, logFile, dumpDir } = written;
  const taken: Taken = new Map();
  if (keyFile !== undefined) taken.set(statusOf(keyFile).identity, "key-file");
  if (dumpDir !== undefined) {
    const directory = openDumpDirectory(dumpDir);
    taken.set(directory.identity, "dump-dir");
    directory.close();
  }
  if (logFile !== undefined) {
    const fd = openLogFile(logFile);
    const { identity } = statusOf(fd);
    close(fd);
    const other = taken.get(identity);
    if (other !== undefined)
      throw new UserError(
        `cannot write --log-file '${logFile}': --${other} leads to the same place`,
        undefined,
        [APART],
      );
    taken.set(identity, "log-file");
  }
  if (serverInfo !== undefined) preparePlace(serverInfoPlace(serverInfo), taken);
  if (clientToken !== undefined)
    preparePlace(tokenPlace(clientToken), taken, groupNumber(written.clientTokenGroup));
  if (socket !== undefined) preparePlace(socketPlace(socket), taken, groupNumber(written.socketGroup));
}

const APART = "give each of the two a place of its own";

/** The flags that have been looked at: by the identity of what is there already, or of its directory with the name in it. */
type Taken = Map<string, Place["flag"] | "key-file" | "log-file" | "dump-dir">;

/** Checks that a file can be put there, with that group if there is one: it creates and removes one. */
function preparePlace(place: Place, taken: Taken, gid?: number): void {
  attempt(place, () => {
    const directory = openDirectoryOf(place);
    const probe = `.${randomHex(8)}`;
    try {
      const name = basename(place.path);
      const found = directory.find(name);
      const here = `${directory.identity}/${name}`;
      const other = taken.get(here) ?? (found && taken.get(found.identity));
      if (other !== undefined) throw refusal(place, `--${other} leads to the same place`, APART);
      taken.set(here, place.flag);
      refuseToReplace(place, found);
      close(directory.create(probe, 0o600));
      if (gid !== undefined) giveTo(place, directory, probe, { mode: 0o600, gid });
    } finally {
      directory.removeIfThere(probe);
      directory.close();
    }
  });
}

/** Only root and the proxy's own user may own what lies on the way; if the place says so, only they may write there. Throws UserError. */
export function openDirectoryOf(place: Place): Directory {
  const trusted = rootAndSelf();
  return Directory.make(dirname(place.path), (step, found) => {
    const stranger = strangerAt(found, trusted);
    if (stranger === undefined || (stranger === "others" && place.mayBeOpen)) return;
    if (stranger === "others")
      throw refusal(place, `others may write to the ${found.kind} ${step}`, `chmod go-w '${step}'`);
    throw refusal(
      place,
      `the ${found.kind} ${step} is user ${stranger}'s`,
      "name a file in a directory that belongs to root or to the user the proxy runs as",
    );
  });
}

/** Throws UserError if what is there has a use of its own. */
export function refuseToReplace(place: Place, found: FileStatus | undefined): void {
  if (found === undefined || place.mayReplace.includes(found.kind)) return;
  throw refusal(place, `it is a ${found.kind}`, "name a file that may be replaced");
}

/** Gives a file of that directory its mode and, if `gid` is not undefined, its group. Throws UserError. */
export function giveTo(
  place: Place,
  directory: Directory,
  temporary: string,
  { mode, gid }: { mode: number; gid: number | undefined },
): void {
  try {
    directory.giveTo(temporary, mode, gid);
  } catch (error) {
    if (causeOf(error) !== "EPERM") throw error;
    throw refusal(
      place,
      `the proxy's user is not in group ${gid} (EPERM)`,
      "name a group of that user's; with --user, only the primary one counts",
    );
  }
}

function refusal({ flag, path }: Place, why: string, ...hints: string[]): UserError {
  return new UserError(`cannot write --${flag} '${path}': ${why}`, undefined, hints);
}

/** Runs a step of writing there. What fails becomes a UserError that names the flag, the path and the reason. */
export function attempt<T>(place: Place, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { flag, path } = place;
    const cause = causeOf(error);
    const hint = HINTS[cause];
    throw new UserError(
      `cannot write --${flag} '${path}' (${cause})`,
      undefined,
      hint === undefined ? [] : [hint],
    );
  }
}

const HINTS: Record<string, string> = {
  EACCES: "the user the proxy runs as must be able to write in that directory",
  // What rename(2) says in /tmp and its like.
  EPERM: "it is another user's file, which a sticky directory keeps: name a path in a directory of your own",
  EROFS: "name a path on a file system that can be written",
  ENOSPC: "make room there, or name a path on another file system",
};
