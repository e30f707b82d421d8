// A file that other programs look for: created under another name, renamed when it is ready, removed at the end if it is still the same one.

import type { Directory } from "../../native/files/directory.ts";
import { close, statusOf, writeAll } from "../../native/files/files.ts";
import { randomHex } from "../../native/process/memory.ts";
import { basename } from "../base/paths.ts";
import { attempt, giveTo, openDirectoryOf, type Place, refuseToReplace } from "./places.ts";

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
      const directory = openDirectoryOf(place);
      const temporary = `.${randomHex(8)}`;
      try {
        refuseToReplace(place, directory.find(basename(place.path)));
        make(directory, temporary);
        if (access !== undefined) giveTo(place, directory, temporary, access);
        // Stays open: otherwise the kernel can give the inode to another proxy's file, which would then be removed as this one's.
        return new PublishedFile(place, directory, temporary, directory.hold(temporary));
      } catch (error) {
        directory.removeIfThere(temporary);
        directory.close();
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
