// Where the lines of the log go: to standard error, or to the file of --log-file. It never waits for a reader, and counts the lines that are lost.

import { duplicate, isWritableNow, replaceByNullDevice } from "../../native/files/descriptors.ts";
import { writeAll } from "../../native/files/files.ts";

export class Sink {
  /** Standard error, or a descriptor that has taken its place. */
  descriptor = 2;
  /** --log-file; until the start is over, standard error gets what is wrong as well. */
  #file: number | undefined;
  #isStarting = true;
  /** Lines that were not written: nobody reads them, and waiting would stop the proxy; or the disk is full. */
  #lost = 0;
  /** Whether the log ends in the middle of a line, for all that is known. */
  #isTorn = false;
  readonly #sayLost: (count: number) => void;

  /** `sayLost` writes a line that says how many were lost. */
  constructor(sayLost: (count: number) => void) {
    this.#sayLost = sayLost;
  }

  /**
   * Gives standard error to the log alone. The runtime prints errors there by itself, with all that they carry, and no setting prevents it
   * (docs/bun.md); that goes to /dev/null now.
   */
  silenceRuntime(): void {
    this.descriptor = duplicate(2);
    replaceByNullDevice(2);
  }

  /** Appends all that follows to this file. Until `leaveStandardError`, standard error gets what is wrong as well. */
  logTo(fd: number): void {
    this.#file = fd;
  }

  /** Closes the caller's standard error: what follows goes to the log file, or nowhere. */
  leaveStandardError(): void {
    this.#isStarting = false;
    replaceByNullDevice(this.descriptor);
  }

  /** Writes a line, `logged` in its place to the file. */
  write(line: string, logged: string, isWrong: boolean): void {
    if (this.#file === undefined) {
      this.#append(this.descriptor, line);
      return;
    }
    this.#append(this.#file, logged);
    if (this.#isStarting && isWrong && isWritableNow(this.descriptor)) isWritten(this.descriptor, line);
  }

  /** Says first how many lines were lost before. */
  #append(fd: number, line: string): void {
    const before = this.#lost;
    this.#lost = 0;
    if (before > 0 && isWritableNow(fd)) this.#sayLost(before);
    // The line that says so does not count.
    const isStuck = before > 0 && this.#lost > 0;
    if (isStuck || !isWritableNow(fd)) {
      this.#lost = before + 1;
      return;
    }
    const isWhole = isWritten(fd, this.#isTorn ? `\n${line}` : line);
    this.#isTorn = !isWhole;
    if (!isWhole) this.#lost++;
  }
}

function isWritten(fd: number, line: string): boolean {
  try {
    writeAll(fd, Buffer.from(`${line}\n`));
    return true;
  } catch {
    // The disk is full, or the reader is gone; that is no reason to stop serving.
    return false;
  }
}
