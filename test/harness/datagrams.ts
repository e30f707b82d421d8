// A Unix datagram socket such as a service manager has; Bun has no API for it.

import { dlopen, ptr } from "bun:ffi";

import { atEnd } from "./cleanup.ts";
import { until } from "./deadline.ts";

const libc = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "i32"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
}).symbols;

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;

export class DatagramSocket {
  readonly #fd = libc.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);

  /** Binds to a path, or to an abstract name if it begins with `@`. */
  constructor(name: string) {
    const address = Buffer.alloc(1024);
    address.writeUInt16LE(AF_UNIX, 0);
    address.write(name, 2);
    if (name.startsWith("@")) address[2] = 0;
    const bound = libc.bind(this.#fd, ptr(address), 2 + name.length + (name.startsWith("@") ? 0 : 1));
    if (bound !== 0) throw new Error(`cannot bind ${name}`);
    atEnd(() => {
      libc.close(this.#fd);
    });
  }

  /** Waits for the next datagram and returns it. */
  async receive(): Promise<string> {
    return (await until(() => this.received(), "a datagram"))!;
  }

  /** Returns the next datagram if there is one; on a Unix socket it arrives as soon as it is sent. */
  received(): string | undefined {
    const space = Buffer.alloc(4096);
    const count = Number(libc.recv(this.#fd, ptr(space), BigInt(space.length), 0));
    return count < 0 ? undefined : space.toString("utf8", 0, count);
  }
}
