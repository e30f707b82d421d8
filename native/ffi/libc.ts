// The only dlopen in the project: the C functions that the proxy calls, their prototypes, and errno.

import { dlopen, FFIType, read } from "bun:ffi";

// For the other files in native/. No other file imports bun:ffi.
export { type Pointer, ptr, toArrayBuffer } from "bun:ffi";

const { i32, i64, u64, ptr } = FFIType;

const FUNCTIONS = {
  // ssize_t read(int fd, void *buf, size_t count)
  read: { args: [i32, ptr, u64], returns: i64 },
  // ssize_t pread(int fd, void *buf, size_t count, off_t offset)
  pread: { args: [i32, ptr, u64, i64], returns: i64 },
  // ssize_t write(int fd, const void *buf, size_t count)
  write: { args: [i32, ptr, u64], returns: i64 },
  // int poll(struct pollfd *fds, nfds_t nfds, int timeout)
  poll: { args: [ptr, u64, i32], returns: i32 },
  // int openat(int dirfd, const char *pathname, int flags, ...)
  openat: { args: [i32, ptr, i32, i32], returns: i32 },
  // int faccessat(int dirfd, const char *pathname, int mode, int flags)
  faccessat: { args: [i32, ptr, i32, i32], returns: i32 },
  // int mkdirat(int dirfd, const char *pathname, mode_t mode)
  mkdirat: { args: [i32, ptr, i32], returns: i32 },
  // ssize_t readlinkat(int dirfd, const char *pathname, char *buf, size_t bufsiz)
  readlinkat: { args: [i32, ptr, ptr, u64], returns: i64 },
  // int renameat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath)
  renameat: { args: [i32, ptr, i32, ptr], returns: i32 },
  // int unlinkat(int dirfd, const char *pathname, int flags)
  unlinkat: { args: [i32, ptr, i32], returns: i32 },
  // int close(int fd)
  close: { args: [i32], returns: i32 },
  // int isatty(int fd)
  isatty: { args: [i32], returns: i32 },
  // int dup2(int oldfd, int newfd)
  dup2: { args: [i32, i32], returns: i32 },
  // int fcntl(int fd, int op, ...)
  fcntl: { args: [i32, i32, i64], returns: i32 },
  // int socket(int domain, int type, int protocol)
  socket: { args: [i32, i32, i32], returns: i32 },
  // int socketpair(int domain, int type, int protocol, int sv[2])
  socketpair: { args: [i32, i32, i32, ptr], returns: i32 },
  // int pipe2(int pipefd[2], int flags)
  pipe2: { args: [ptr, i32], returns: i32 },
  // int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen)
  connect: { args: [i32, ptr, i32], returns: i32 },
  // int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen)
  getsockopt: { args: [i32, i32, i32, ptr, ptr], returns: i32 },
  // int accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags)
  accept4: { args: [i32, ptr, ptr, i32], returns: i32 },
  // ssize_t send(int sockfd, const void *buf, size_t len, int flags)
  send: { args: [i32, ptr, u64, i32], returns: i64 },
  // int shutdown(int sockfd, int how)
  shutdown: { args: [i32, i32], returns: i32 },
  // void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
  mmap: { args: [u64, u64, i32, i32, i32, i64], returns: i64 },
  // int mprotect(void *addr, size_t len, int prot)
  mprotect: { args: [u64, u64, i32], returns: i32 },
  // int madvise(void *addr, size_t length, int advice)
  madvise: { args: [u64, u64, i32], returns: i32 },
  // int mlock(const void *addr, size_t len)
  mlock: { args: [u64, u64], returns: i32 },
  // int mlockall(int flags)
  mlockall: { args: [i32], returns: i32 },
  // int munmap(void *addr, size_t length)
  munmap: { args: [u64, u64], returns: i32 },
  // int getpagesize(void)
  getpagesize: { args: [], returns: i32 },
  // void explicit_bzero(void *s, size_t n)
  explicit_bzero: { args: [u64, u64], returns: FFIType.void },
  // ssize_t getrandom(void *buf, size_t buflen, unsigned int flags)
  getrandom: { args: [u64, u64, i32], returns: i64 },
  // int prctl(int op, ...)
  prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
  // int getrlimit(int resource, struct rlimit *rlim)
  getrlimit: { args: [i32, ptr], returns: i32 },
  // int setrlimit(int resource, const struct rlimit *rlim)
  setrlimit: { args: [i32, ptr], returns: i32 },
  // int prlimit(pid_t pid, int resource, const struct rlimit *new_limit, struct rlimit *old_limit)
  prlimit: { args: [i32, i32, ptr, ptr], returns: i32 },
  // pid_t getppid(void)
  getppid: { args: [], returns: i32 },
  // sighandler_t signal(int signum, sighandler_t handler)
  signal: { args: [i32, i64], returns: i64 },
  // ssize_t sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
  sendfile: { args: [i32, i32, ptr, u64], returns: i64 },
  // int fchmod(int fd, mode_t mode)
  fchmod: { args: [i32, i32], returns: i32 },
  // int fchown(int fd, uid_t owner, gid_t group)
  fchown: { args: [i32, i32, i32], returns: i32 },
  // int fchownat(int dirfd, const char *pathname, uid_t owner, gid_t group, int flags)
  fchownat: { args: [i32, ptr, i32, i32, i32], returns: i32 },
  // int fchmodat(int dirfd, const char *pathname, mode_t mode, int flags)
  fchmodat: { args: [i32, ptr, i32, i32], returns: i32 },
  // int setgroups(size_t size, const gid_t *list)
  setgroups: { args: [u64, ptr], returns: i32 },
  // int setresgid(gid_t rgid, gid_t egid, gid_t sgid)
  setresgid: { args: [i32, i32, i32], returns: i32 },
  // int setresuid(uid_t ruid, uid_t euid, uid_t suid)
  setresuid: { args: [i32, i32, i32], returns: i32 },
  // int capset(cap_user_header_t hdrp, const cap_user_data_t datap)
  capset: { args: [ptr, ptr], returns: i32 },
  // int execve(const char *pathname, char *const argv[], char *const envp[])
  execve: { args: [ptr, ptr, ptr], returns: i32 },
  // long syscall(long number, ...), for calls without a wrapper in libc
  syscall: { args: [i64, i64, i64, i64, i64, i64, i64], returns: i64 },
  // int *__errno_location(void), on glibc and musl
  __errno_location: { args: [], returns: ptr },
} as const;

/**
 * The functions above, loaded. Pointers are numbers, 64-bit results are bigints.
 *
 * TAKE CARE: Bun's dlopen also tries a name that it cannot load in the working directory, which may belong
 * to an attacker. This name always loads: the process has its libc already. `libc.so.6` is glibc's name;
 * musl's loader returns itself for every `libc.*` (ldso/dynlink.c, load_library).
 */
export const libc = dlopen("libc.so.6", FUNCTIONS).symbols;

/** Returns errno of the last call. Call this directly after that call: the runtime may change errno. */
export function errno(): number {
  return read.i32(libc.__errno_location()!, 0);
}

/** A failed system call. Holds its name and its errno, and never any data. */
export class SystemCallError extends Error {
  constructor(
    readonly call: string,
    readonly errno: number,
  ) {
    super();
    this.name = "SystemCallError";
  }

  /** The name of the errno, such as ENOENT, as in Node's errors. Not looked up before it is asked for: most of these errors are expected. */
  get code(): string {
    return errnoName(this.errno);
  }

  override get message(): string {
    return `${this.call}: ${this.code}`;
  }
}

/** Returns the result of a call as a number. Throws SystemCallError if it is -1. */
export function check(call: string, result: number | bigint): number {
  if (Number(result) === -1) throw new SystemCallError(call, errno());
  return Number(result);
}

export const ENOENT = 2;
export const EINTR = 4;
export const EAGAIN = 11;
export const ENOEXEC = 8;
export const EACCES = 13;
export const EBADFD = 77;
export const EINVAL = 22;
export const EROFS = 30;
export const ENOSYS = 38;
export const EOPNOTSUPP = 95;

/** Loads node:util only here: it is slow to load, and a start that nothing is wrong with needs no names. */
function errnoName(number: number): string {
  const { getSystemErrorName } = require("node:util") as typeof import("node:util");
  return getSystemErrorName(-number);
}
