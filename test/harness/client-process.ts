// A TCP client that is another user and does what no ordinary client does: it binds its port, resets, listens on the port, takes over a descriptor.
// It reads commands from standard input and answers each, as JSON in a line. Usage, as root: bun client-process.ts UID (see clients.ts)

import { dlopen } from "bun:ffi";

import { struct } from "../../native/ffi/c-data.ts";
import { check, libc, SystemCallError } from "../../native/ffi/libc.ts";

const more = dlopen("libc.so.6", {
  // int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen)
  bind: { args: ["i32", "ptr", "i32"], returns: "i32" },
  // int listen(int sockfd, int backlog)
  listen: { args: ["i32", "i32"], returns: "i32" },
  // int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen)
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  // int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen)
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "i32"], returns: "i32" },
}).symbols;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_RCVTIMEO = 20;
const SHUT_WR = 1;
const MSG_NOSIGNAL = 0x4000;
const PIDFD_OPEN = 434n;
const PIDFD_GETFD = 438n;

type From = { address?: string; port?: number; mapped?: boolean };

const COMMANDS = {
  open(to: number, from: From): { fd: number; port: number } {
    const fd = bound(from);
    check("connect", libc.connect(fd, address("127.0.0.1", to, from.mapped), ADDRESS_BYTES));
    return { fd, port: portOf(fd) };
  },
  listen(from: From): { fd: number; port: number } {
    const fd = bound(from);
    check("listen", more.listen(fd, 5));
    return { fd, port: portOf(fd) };
  },
  send(fd: number, text: string): number {
    const bytes = Buffer.concat([Buffer.from(text, "latin1")], Math.max(text.length, 1024));
    return check("send", libc.send(fd, bytes, BigInt(text.length), MSG_NOSIGNAL));
  },
  /** What comes next, at most 64 KiB; empty at the end of the connection. */
  receive(fd: number): string {
    const bytes = Buffer.alloc(65_536);
    const count = check("read", libc.read(fd, bytes, BigInt(bytes.byteLength)));
    return bytes.toString("latin1", 0, count);
  },
  endSending: (fd: number) => check("shutdown", libc.shutdown(fd, SHUT_WR)),
  close: (fd: number) => check("close", libc.close(fd)),
  reset(fd: number): number {
    option(fd, SO_LINGER, 1, 0);
    return check("close", libc.close(fd));
  },
  become(uid: number): number {
    check("setgroups", libc.setgroups(0n, struct()));
    check("setresgid", libc.setresgid(uid, uid, uid));
    return check("setresuid", libc.setresuid(uid, uid, uid));
  },
  /** As root: another process's descriptor, as if it had been passed on. */
  take(pid: number, fd: number): number {
    const process = check("pidfd_open", libc.syscall(PIDFD_OPEN, BigInt(pid), 0n, 0n, 0n, 0n, 0n));
    return check("pidfd_getfd", libc.syscall(PIDFD_GETFD, BigInt(process), BigInt(fd), 0n, 0n, 0n, 0n));
  },
};

export type Commands = typeof COMMANDS;

/** sizeof(struct sockaddr_in6), which is more than an IPv4 address takes. */
const ADDRESS_BYTES = 28;

function bound({ address: host = "127.0.0.1", port = 0, mapped = false }: From): number {
  const fd = check("socket", libc.socket(mapped ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
  option(fd, SO_REUSEADDR, 1);
  option(fd, SO_RCVTIMEO, 10, 0, 0, 0);
  check("bind", more.bind(fd, address(host, port, mapped), ADDRESS_BYTES));
  return fd;
}

function address(host: string, port: number, mapped = false): Buffer {
  const bytes = struct();
  bytes.writeUInt16LE(mapped ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  if (mapped) bytes.writeUInt16BE(0xffff, 18);
  bytes.set(host.split(".").map(Number), mapped ? 20 : 4);
  return bytes;
}

function portOf(fd: number): number {
  const [bytes, length] = [struct(), struct()];
  length.writeUInt32LE(ADDRESS_BYTES, 0);
  check("getsockname", more.getsockname(fd, bytes, length));
  return bytes.readUInt16BE(2);
}

function option(fd: number, name: number, ...values: number[]): void {
  const bytes = struct();
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, 4 * index);
  check("setsockopt", more.setsockopt(fd, SOL_SOCKET, name, bytes, 4 * values.length));
}

// A type is imported from here, too.
if (import.meta.main) {
  COMMANDS.become(Number(process.argv[2]));
  for await (const line of console) {
    const [name, ...args] = JSON.parse(line) as [keyof Commands, ...unknown[]];
    const command = COMMANDS[name] as (...args: unknown[]) => unknown;
    let answer: { value: unknown } | { error: string };
    try {
      answer = { value: command(...args) };
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
