// Datagrams to a Unix socket (unix(7)): the protocol of sd_notify(3).

import { cString, struct } from "../ffi/c-data.ts";
import { check, libc, SystemCallError } from "../ffi/libc.ts";
import { close } from "../files/files.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const ENAMETOOLONG = 36;
const FAMILY_BYTES = 2;
/** sizeof(sun_path). A path needs one byte of it for its NUL. */
const MAX_NAME_BYTES = 108;

/** Connects to a path, or to `@` and an abstract name. Returns the descriptor. Throws SystemCallError. */
export function connectDatagram(name: string): number {
  const bytes = Buffer.from(name);
  if (bytes.length >= MAX_NAME_BYTES) throw new SystemCallError("connect", ENAMETOOLONG);
  // struct sockaddr_un { sa_family_t sun_family; char sun_path[108]; }
  // An abstract name begins with a NUL; the length of the address ends it.
  const address = struct();
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, FAMILY_BYTES);
  if (name.startsWith("@")) address[FAMILY_BYTES] = 0;
  const length = FAMILY_BYTES + bytes.length + (name.startsWith("@") ? 0 : 1);
  const fd = check("socket", libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    check("connect", libc.connect(fd, address, length));
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Sends the text as one datagram. Throws SystemCallError: EAGAIN if the receiver does not read. */
export function sendDatagram(fd: number, text: string): void {
  check("send", libc.send(fd, cString(text), BigInt(Buffer.byteLength(text)), MSG_DONTWAIT | MSG_NOSIGNAL));
}
