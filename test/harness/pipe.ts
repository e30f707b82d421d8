// A named pipe with both ends open in the test: its unread bytes can be counted, and it stays open when a reader exits.

import { dlopen, ptr } from "bun:ffi";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";

import { atEnd } from "./cleanup.ts";
import { temporaryDirectory } from "./program.ts";

const { fcntl, ioctl } = dlopen("libc.so.6", {
  // int fcntl(int fd, int op, int flags)
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  // int ioctl(int fd, unsigned long request, int *count)
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
}).symbols;

const F_SETFL = 4;
const FIONREAD = 0x541b;

export class Pipe {
  readonly path = join(temporaryDirectory(), "pipe");
  /** The non-blocking reading end. */
  readonly reader: number;
  readonly #writer: number;

  constructor() {
    if (Bun.spawnSync(["mkfifo", this.path]).exitCode !== 0) throw new Error(`mkfifo ${this.path} failed`);
    this.reader = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#writer = openSync(this.path, constants.O_WRONLY);
    atEnd(() => {
      closeSync(this.reader);
      closeSync(this.#writer);
    });
  }

  write(text: string): void {
    writeSync(this.#writer, text);
  }

  /** Makes reads non-blocking again, also for a child that has the reading end. (Bun.spawn makes it blocking: Bun 1.4.5.) */
  doNotBlock(): void {
    if (fcntl(this.reader, F_SETFL, constants.O_NONBLOCK) !== 0) throw new Error("fcntl(F_SETFL) failed");
  }

  /** Returns the number of unread bytes. */
  unread(): number {
    const count = new Int32Array(1);
    if (ioctl(this.reader, FIONREAD, ptr(count)) !== 0) throw new Error("ioctl(FIONREAD) failed");
    return count[0]!;
  }
}
