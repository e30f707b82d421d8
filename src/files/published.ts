// A file that other programs look for: created under another name, renamed when it is ready, removed at the end if it is still the same one.

import { Directory } from "../../native/files/directory.ts";
import { close, type FileStatus, statusOf, writeAll } from "../../native/files/files.ts";
import { randomHex } from "../../native/process/memory.ts";
import { causeOf, UserError } from "../base/errors.ts";
import { basename, dirname } from "../base/paths.ts";
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

/** The client token's file. Nobody else may write there: they could give out a token of their own. */
export function tokenPlace(path: string): Place {
  return { flag: "client-token", path, mayReplace: ["file", "symlink", "FIFO"], mayBeOpen: false };
}

/** A Unix socket; one of a running proxy, too, is replaced. Nobody else may write there: they could put a socket of their own in its place. */
export function socketPlace(path: string): Place {
  return { flag: "socket", path, mayReplace: ["socket"], mayBeOpen: false };
}

/**
 * Creates the directory if it is missing, and checks that a file can be put there, with that group if there is one: it creates
 * and removes one. Comes after the change of user, so that root creates
 * nothing and follows nothing that another user could point elsewhere. Throws UserError.
 */
export function preparePlace(place: Place, gid?: number): void {
  attempt(place, () => {
    const directory = openDirectory(place);
    const probe = `.${randomHex(8)}`;
    try {
      refuseToReplace(place, directory.find(basename(place.path)));
      close(directory.create(probe, 0o600));
      if (gid !== undefined) giveTo(place, directory, probe, { mode: 0o600, gid });
    } finally {
      directory.removeIfThere(probe);
      directory.close();
    }
  });
}

export class PublishedFile {
  readonly #place: Place;
  readonly #directory: Directory;
  readonly #temporary: string;
  readonly #identity: string;

  private constructor(place: Place, directory: Directory, temporary: string, held: number) {
    this.#place = place;
    this.#directory = directory;
    this.#temporary = temporary;
    this.#identity = statusOf(held).identity;
  }

  /**
   * Creates the file under a name that nobody can guess: `make` gets the directory and that name. Then gives it its mode and, if `gid` is not
   * undefined, its group. Throws UserError.
   */
  static create(
    place: Place,
    make: (directory: Directory, temporary: string) => void,
    access?: { mode: number; gid: number | undefined },
  ): PublishedFile {
    return attempt(place, () => {
      const directory = openDirectory(place);
      refuseToReplace(place, directory.find(basename(place.path)));
      const temporary = `.${randomHex(8)}`;
      try {
        make(directory, temporary);
        if (access !== undefined) giveTo(place, directory, temporary, access);
        // Stays open: otherwise the kernel can give the inode to another proxy's file, which would then be removed as this one's.
        return new PublishedFile(place, directory, temporary, directory.hold(temporary));
      } catch (error) {
        directory.removeIfThere(temporary);
        throw error;
      }
    });
  }

  /** Renames it: nobody reads half of it, and a symlink or a FIFO in its place is replaced, never followed or waited for. Throws UserError. */
  publish(): void {
    attempt(this.#place, () => {
      try {
        this.#directory.rename(this.#temporary, basename(this.#place.path));
      } catch (error) {
        this.#directory.removeIfThere(this.#temporary);
        throw error;
      }
    });
  }

  /** Removes the file, under either name, if it is still the one that was created. */
  remove(): void {
    for (const name of [basename(this.#place.path), this.#temporary])
      try {
        if (this.#directory.find(name)?.identity === this.#identity) this.#directory.remove(name);
      } catch {
        // No descriptor may be left. A file that stays is no reason to fail at the end.
      }
  }
}

function giveTo(
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

/** Writes the text to a new file. If that fails, as on a full disk, nothing of it stays. */
export function withText(text: string, mode: number): (directory: Directory, temporary: string) => void {
  return (directory, temporary) => {
    const fd = directory.create(temporary, mode);
    try {
      writeAll(fd, Buffer.from(text));
    } finally {
      close(fd);
    }
  };
}

/** Only root and the proxy's own user may own what lies on the way; if the place says so, only they may write there. */
function openDirectory(place: Place): Directory {
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

function refuseToReplace(place: Place, found: FileStatus | undefined): void {
  if (found === undefined || place.mayReplace.includes(found.kind)) return;
  throw refusal(place, `it is a ${found.kind}`, "name a file that may be replaced");
}

function refusal({ flag, path }: Place, why: string, ...hints: string[]): UserError {
  return new UserError(`cannot write --${flag} '${path}': ${why}`, undefined, hints);
}

function attempt<T>(place: Place, step: () => T): T {
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
