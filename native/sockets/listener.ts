// The listening socket: refuses the connections in its queue when no descriptor is left to serve them.

import { libc } from "../ffi/libc.ts";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SOCK_CLOEXEC = 0x80000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const SHUT_WR = 1;
/** Descriptors are given from the lowest on, and the proxy listens before it has many. */
const SEARCHED_DESCRIPTORS = 1024;

/** Returns the descriptors of the `count` sockets that listen. Throws Error if there are fewer. */
export function findListeners(count: number): number[] {
  const found: number[] = [];
  for (let fd = 3; found.length < count && fd < SEARCHED_DESCRIPTORS; fd++)
    if (isListening(fd)) found.push(fd);
  if (found.length < count) throw new Error("a listening socket was not found");
  return found;
}

/**
 * Accepts each connection in the queue, sends as much of `message` as the socket takes without waiting, and
 * closes it. Returns their number.
 */
export function refusePending(listener: number, message: Uint8Array): number {
  for (let count = 0; ; count++) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
    if (fd < 0) return count;
    try {
      libc.send(fd, message, BigInt(message.byteLength), MSG_NOSIGNAL | MSG_DONTWAIT);
      libc.shutdown(fd, SHUT_WR);
    } finally {
      libc.close(fd);
    }
  }
}

function isListening(fd: number): boolean {
  const { value, length } = int32();
  return libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, length) === 0 && value[0] === 1;
}

/** Buffers for a value and its length, large enough that the engine does not move them. */
function int32(): { value: Int32Array<ArrayBuffer>; length: Int32Array<ArrayBuffer> } {
  const length = new Int32Array(256);
  length[0] = 4;
  return { value: new Int32Array(256), length };
}
