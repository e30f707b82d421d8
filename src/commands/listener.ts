// Whose the socket is that listens where a server-info file says.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { readInto } from "../../native/files/descriptors.ts";
import { Directory } from "../../native/files/directory.ts";
import { close, O_RDONLY, open } from "../../native/files/files.ts";
import { basename, dirname } from "../base/paths.ts";
import { strangerAt } from "../files/owners.ts";

const TABLE_BYTES = 16_384;
const LISTENING = "0A";

/**
 * The user whose socket listens on 127.0.0.1 and nowhere else, from /proc/net/tcp (proc_pid_net(5)); undefined if that cannot be read.
 * Listening sockets come first there; the rest, tens of thousands of lines after a busy minute, is not read.
 */
export function listenerUid(port: number): number | "nobody" | undefined {
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  let fd: number;
  try {
    fd = open("/proc/net/tcp", O_RDONLY);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
  try {
    const space = Buffer.alloc(TABLE_BYTES);
    for (let text = ""; ;) {
      const count = readInto(fd, space);
      const lines = (text + space.toString("latin1", 0, count)).split("\n");
      text = lines.pop()!;
      const sockets = lines.map((line) => line.trim().split(/\s+/)).filter(([number]) => number !== "sl");
      const found = sockets.find(([, local, , state]) => local === address && state === LISTENING);
      if (found !== undefined) return Number(found[7]);
      if (count === 0 || sockets.some(([, , , state]) => state !== LISTENING)) return "nobody";
    }
  } finally {
    close(fd);
  }
}

/** The owner of a Unix socket; "nobody" if there is none, or a user who is not trusted could have put it there. */
export function socketUid(path: string, trusted: readonly number[]): number | "nobody" {
  let isOpen = false;
  try {
    const directory = Directory.open(dirname(path), (_step, found) => {
      isOpen ||= strangerAt(found, trusted) !== undefined;
    });
    try {
      const found = directory.find(basename(path));
      return found?.kind === "socket" && !isOpen ? found.uid : "nobody";
    } finally {
      directory.close();
    }
  } catch (error) {
    if (error instanceof SystemCallError) return "nobody";
    throw error;
  }
}
