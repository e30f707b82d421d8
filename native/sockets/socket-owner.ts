// Whose the client's end of a connection is, asked of the kernel (sock_diag(7)).

import { struct } from "../ffi/c-data.ts";
import { check, ENOENT, libc, SystemCallError } from "../ffi/libc.ts";

const AF_INET = 2;
const AF_NETLINK = 16;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0x800 | 0x80000;
const NETLINK_SOCK_DIAG = 4;
const MSG_NOSIGNAL = 0x4000;
const IPPROTO_TCP = 6;

const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 1;
const NLMSG_ERROR = 2;
const ALL_STATES = 0xffffffff;
const ESTABLISHED = 1;
const LISTEN = 10;

// struct nlmsghdr: nlmsg_len 0, nlmsg_type 4, nlmsg_flags 6, nlmsg_seq 8. Behind it, in the request, struct inet_diag_req_v2:
// sdiag_family 16, sdiag_protocol 17, idiag_states 20, id 24; in the reply, struct inet_diag_msg: idiag_family 16, idiag_state 17, id 20,
// idiag_uid 80, idiag_inode 84. struct inet_diag_sockid: idiag_sport 0, idiag_dport 2, idiag_src 4, idiag_dst 20, idiag_if 36, idiag_cookie 40.
const REQUEST_BYTES = 72;
const REQUEST_ID = 24;
const REPLY_BYTES = 88;
const REPLY_ID = 20;
/** sport, dport, src, dst */
const ADDRESSES_BYTES = 36;
const LOOPBACK = 0x7f000001;
const NO_COOKIE = 0xffffffff;
const EPROTO = 71;

export class SocketOwner {
  readonly #fd: number;
  readonly #port: number;
  readonly #request = struct();
  readonly #reply = struct();
  #sequence = 0;

  /** Opens the way to the kernel for clients of 127.0.0.1:`port`, on which the process listens. Throws SystemCallError if the kernel cannot be asked. */
  constructor(fd: number, port: number) {
    this.#fd = fd;
    this.#port = port;
    const request = this.#request;
    request.writeUInt32LE(REQUEST_BYTES, 0);
    request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
    request.writeUInt16LE(NLM_F_REQUEST, 6);
    request[16] = AF_INET;
    request[17] = IPPROTO_TCP;
    request.writeUInt32LE(ALL_STATES, 20);
    request.writeUInt32BE(LOOPBACK, REQUEST_ID + 4);
    request.writeUInt32LE(NO_COOKIE, REQUEST_ID + 40);
    request.writeUInt32LE(NO_COOKIE, REQUEST_ID + 44);
    // The kernel says ENOENT for an unknown socket and for an unknown protocol alike: so it is asked for one that is there.
    this.#ask(port, 0, 0);
    if (this.#reply[17] !== LISTEN) throw new SystemCallError("sock_diag", ENOENT);
  }

  /**
   * Returns the user ID that owns the client's socket of the connection from 127.0.0.1:`clientPort`; undefined if it is not open any more.
   * Throws SystemCallError if the kernel cannot be asked.
   */
  ownerOf(clientPort: number): number | undefined {
    if (!this.#ask(clientPort, this.#port, LOOPBACK)) return undefined;
    const reply = this.#reply;
    // Without this, a socket that listens on the client's port would be taken for the client's: the kernel falls back to it.
    if (
      reply.compare(
        this.#request,
        REQUEST_ID,
        REQUEST_ID + ADDRESSES_BYTES,
        REPLY_ID,
        REPLY_ID + ADDRESSES_BYTES,
      ) !== 0
    )
      return undefined;
    // A socket that its process has closed, or that is in TIME_WAIT, has no inode, and root's user ID.
    const isOpen = reply[17] === ESTABLISHED && reply.readUInt32LE(84) !== 0;
    return isOpen ? reply.readUInt32LE(80) : undefined;
  }

  /** Whether there is such a socket; then #reply is filled. */
  #ask(localPort: number, remotePort: number, remoteAddress: number): boolean {
    const request = this.#request;
    this.#sequence = (this.#sequence + 1) >>> 0;
    request.writeUInt32LE(this.#sequence, 8);
    request.writeUInt16BE(localPort, REQUEST_ID);
    request.writeUInt16BE(remotePort, REQUEST_ID + 2);
    request.writeUInt32BE(remoteAddress, REQUEST_ID + 20);
    check("send", libc.send(this.#fd, request, BigInt(REQUEST_BYTES), MSG_NOSIGNAL));
    // The kernel has answered before send(2) returns (netlink(7)).
    for (;;) {
      const count = check("read", libc.read(this.#fd, this.#reply, BigInt(this.#reply.byteLength)));
      // The answer to an earlier question that was interrupted.
      if (this.#reply.readUInt32LE(8) !== this.#sequence) continue;
      if (this.#reply.readUInt16LE(4) === SOCK_DIAG_BY_FAMILY && count >= REPLY_BYTES) return true;
      const error = this.#reply.readUInt16LE(4) === NLMSG_ERROR ? -this.#reply.readInt32LE(16) : EPROTO;
      if (error === ENOENT) return false;
      throw new SystemCallError("sock_diag", error);
    }
  }
}

/** Returns a descriptor to ask through. Comes before the filter, which forbids such sockets. Throws SystemCallError. */
export function openSocketDiagnostics(): number {
  return check("socket", libc.socket(AF_NETLINK, SOCK_DGRAM_NONBLOCK_CLOEXEC, NETLINK_SOCK_DIAG));
}
