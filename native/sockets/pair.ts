// Two sockets that are connected to each other (socketpair(2)): a process gives one to a process that it starts.

import { struct } from "../ffi/c-data.ts";
import { check, libc, ptr } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";

const AF_UNIX = 1;
/** Each write(2) is one message, and each read(2) returns one. */
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0x80000;
const SHUT_WR = 1;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const MSG_PEEK = 0x2n;
const MSG_TRUNC = 0x20n;

/** Makes a pair of sockets that keep messages apart, both close-on-exec. Throws SystemCallError. */
export function socketPair(): { own: number; other: number } {
  const fds = struct();
  check("socketpair", libc.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
  return { own: fds.readInt32LE(0), other: fds.readInt32LE(4) };
}

/** Returns whether the descriptor is a socket that keeps messages apart, as those of a pair are. */
export function isOfPair(fd: number): boolean {
  const [type, length] = [struct(), struct()];
  length.writeInt32LE(4);
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, type, length);
  return result === 0 && type.readInt32LE() === SOCK_SEQPACKET;
}

/** Returns how long the next message is, in bytes; 0 if none is to come, or the other side is gone. Waits for it, and leaves it there (recv(2)). */
export function lengthOfNext(fd: number): number {
  const space = BigInt(ptr(struct()));
  const number = BigInt(syscallNumber("recvfrom")!);
  return Math.max(0, Number(libc.syscall(number, BigInt(fd), space, 1n, MSG_PEEK | MSG_TRUNC, 0n, 0n)));
}

/** Ends what this side sends: the other one reads the end (shutdown(2)). */
export function endSending(fd: number): void {
  libc.shutdown(fd, SHUT_WR);
}
