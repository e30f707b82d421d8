// Whose the client's end of a connection is, asked of the kernel (sock_diag(7)).

import { struct } from "../ffi/c-data.ts";
import { check, ENOENT, libc, SystemCallError } from "../ffi/libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
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
// idiag_if stays 0: a socket that is bound to a device is not found. Such a one does not keep others from having the same addresses.
const REQUEST_BYTES = 72;
const REQUEST_ID = 24;
const REPLY_BYTES = 88;
const REPLY_ID = 20;
/** idiag_src, idiag_dst */
const SOURCE = 4;
const DESTINATION = 20;
/** What precedes an IPv4 address in the address of an IPv6 socket (RFC 4291 §2.5.5.2), as Java and .NET open them for IPv4, too. */
const MAPPED = Buffer.from("00000000000000000000ffff", "hex");
const LOOPBACK = 0x7f000001;
const NO_COOKIE = 0xffffffff;
const EPROTO = 71;

/** IPv4, as a number. */
type Address = { address: number; port: number };

export class SocketOwner {
  readonly #fd: number;
  readonly #port: number;
  readonly #request = struct();
  readonly #reply = struct();
  #sequence = 0;

  /** Asks about clients of 127.0.0.1:`port`, on which the process listens. Throws SystemCallError if the kernel cannot be asked. */
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
    request.writeUInt32LE(NO_COOKIE, REQUEST_ID + 40);
    request.writeUInt32LE(NO_COOKIE, REQUEST_ID + 44);
    // The kernel says ENOENT for an unknown socket and for an unknown protocol alike: so it is asked for one that is there.
    this.#ask({ address: LOOPBACK, port }, { address: 0, port: 0 });
    if (this.#reply[17] !== LISTEN) throw new SystemCallError("sock_diag", ENOENT);
  }

  /**
   * Returns the user ID that owns the client's socket of the connection from that IPv4 address and port; undefined if it is not open any
   * more. Throws SystemCallError if the kernel cannot be asked.
   */
  ownerOf({ address, port }: { address: string; port: number }): number | undefined {
    // Not every client is 127.0.0.1: each may bind to any address of 127.0.0.0/8, with the port of another user's connection.
    const client = { address: address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0), port };
    if (!this.#ask(client, { address: LOOPBACK, port: this.#port })) return undefined;
    // Without this, a socket that listens on the client's port would be taken for the client's: the kernel falls back to it.
    if (!this.#isOfAsked()) return undefined;
    const reply = this.#reply;
    // A socket that its process has closed, or that is in TIME_WAIT, has no inode, and root's user ID.
    const isOpen = reply[17] === ESTABLISHED && reply.readUInt32LE(84) !== 0;
    return isOpen ? reply.readUInt32LE(80) : undefined;
  }

  /** Whether the reply's ports and addresses are those of the request. */
  #isOfAsked(): boolean {
    const [asked, found] = [this.#request.subarray(REQUEST_ID), this.#reply.subarray(REPLY_ID)];
    const isMapped = this.#reply[16] === AF_INET6;
    return (
      found.readUInt32BE(0) === asked.readUInt32BE(0) &&
      [SOURCE, DESTINATION].every((at) => addressAt(found, at, isMapped) === asked.readUInt32BE(at))
    );
  }

  /** Whether there is such a socket; then #reply is filled. */
  #ask(local: Address, remote: Address): boolean {
    const request = this.#request;
    this.#sequence = (this.#sequence + 1) >>> 0;
    request.writeUInt32LE(this.#sequence, 8);
    request.writeUInt16BE(local.port, REQUEST_ID);
    request.writeUInt16BE(remote.port, REQUEST_ID + 2);
    request.writeUInt32BE(local.address, REQUEST_ID + SOURCE);
    request.writeUInt32BE(remote.address, REQUEST_ID + DESTINATION);
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

/** The IPv4 address in a struct inet_diag_sockid; undefined if an IPv6 socket has another. */
function addressAt(id: Buffer, at: number, isMapped: boolean): number | undefined {
  if (!isMapped) return id.readUInt32BE(at);
  const isIPv4 = id.subarray(at, at + MAPPED.length).equals(MAPPED);
  return isIPv4 ? id.readUInt32BE(at + MAPPED.length) : undefined;
}

/** Returns a descriptor to ask through. Comes before the filter, which forbids such sockets. Throws SystemCallError. */
export function openSocketDiagnostics(): number {
  return check("socket", libc.socket(AF_NETLINK, SOCK_DGRAM_NONBLOCK_CLOEXEC, NETLINK_SOCK_DIAG));
}
