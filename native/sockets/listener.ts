// The listening socket from below: connections that wait to be accepted can be turned away when no descriptor is left for them.

import { libc } from "../ffi/libc.ts";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SOCK_CLOEXEC = 0x80000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const SHUT_WR = 1;
const AF_INET = 2;
const HIGHEST_LOOKED_AT = 1024;

/** The descriptor of the socket that listens on this IPv4 port; found right after listening, it is a low number. */
export function findListener(port: number): number {
  for (let fd = 3; fd < HIGHEST_LOOKED_AT; fd++) {
    if (isListening(fd) && localPort(fd) === port) return fd;
  }
  throw new Error("the listening socket was not found");
}

/** Accepts every connection that waits, sends it `message` as far as it takes it at once, and closes it. Answers how many. */
export function turnAway(listener: number, message: Uint8Array): number {
  for (let count = 0; ; count++) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
    if (fd < 0) return count;
    libc.send(fd, message, BigInt(message.byteLength), MSG_NOSIGNAL | MSG_DONTWAIT);
    libc.shutdown(fd, SHUT_WR);
    libc.close(fd);
  }
}

function isListening(fd: number): boolean {
  const { value, length } = int32();
  return libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, length) === 0 && value[0] === 1;
}

/** From struct sockaddr_in: family in the machine's byte order, port in the network's. */
function localPort(fd: number): number | undefined {
  const { value, length } = int32();
  length[0] = value.byteLength;
  if (libc.getsockname(fd, value, length) !== 0) return undefined;
  const address = new DataView(value.buffer);
  return address.getUint16(0, true) === AF_INET ? address.getUint16(2) : undefined;
}

/** Room for a value and its length, in buffers too large to be moved by the engine. */
function int32(): { value: Int32Array<ArrayBuffer>; length: Int32Array<ArrayBuffer> } {
  const length = new Int32Array(256);
  length[0] = 4;
  return { value: new Int32Array(256), length };
}
