// What is said between a process that starts a proxy and that proxy, until the proxy accepts connections.

import { MIN_PINNED_BYTES } from "../../../native/ffi/c-data.ts";
import { readOrEnd, waitForAny } from "../../../native/files/descriptors.ts";
import { writeAll } from "../../../native/files/files.ts";
import { endSending, lengthOfNext } from "../../../native/sockets/pair.ts";
import type { Ready } from "../../input/starter.ts";
import type { Proxy } from "./launch.ts";

const STANDARD_ERROR = 2;
const CHUNK_BYTES = 65_536;

/** Sends `NAME=value` each, in latin1, those that the proxy is to look for the key in. Waits if it is more than the socket holds. What was sent is wiped: it may have the key in it. */
export function send(channel: number, variables: readonly string[]): void {
  const block = Buffer.from(variables.map((variable) => `${variable}\0`).join(""), "latin1");
  try {
    for (let sent = 0; sent < block.length; sent += CHUNK_BYTES)
      writeAll(channel, block.subarray(sent, sent + CHUNK_BYTES));
    endSending(channel);
  } catch {
    // It is gone: its exit code says so.
  }
  block.fill(0);
}

/** The proxy's first message; undefined if it ends before. Meanwhile its standard error is passed on. Blocks: nothing else is to be done. */
export function awaitReady({ channel, errors }: Pick<Proxy, "channel" | "errors">): Ready | undefined {
  const open = errors === undefined ? [channel] : [channel, errors];
  for (;;) {
    const readable = waitForAny(open);
    // Standard error first: what it said before the message goes on before COMMAND starts.
    if (errors !== undefined && readable.includes(errors)) {
      if (!passOn(errors)) open.length = 1;
      continue;
    }
    if (!readable.includes(channel)) continue;
    // Not a block for the longest message that there can be: its allocation makes the runtime collect garbage, just before COMMAND starts.
    const space = Buffer.alloc(Math.max(lengthOfNext(channel), MIN_PINNED_BYTES));
    const count = readOrEnd(channel, space);
    return count === 0 ? undefined : (JSON.parse(space.toString("utf8", 0, count)) as Ready);
  }
}

/** Copies what there is to standard error. Returns whether there can be more. */
export function passOn(errors: number): boolean {
  const space = Buffer.alloc(CHUNK_BYTES);
  const count = readOrEnd(errors, space);
  try {
    writeAll(STANDARD_ERROR, space.subarray(0, count));
  } catch {
    // Nobody reads it.
  }
  return count > 0;
}
