// What the process is shut into: files and ports before the second start, so that every thread is; system calls after it.

import { AT_FDCWD, close, O_RDWR, openUnless } from "../native/files.ts";
import { restrict } from "../native/landlock.ts";
import { EACCES, SystemCallError } from "../native/libc.ts";
import { forbidExecutableGain } from "../native/process.ts";
import { installFilter } from "../native/seccomp.ts";
import type { Environment } from "./environment.ts";
import { isLoopback, type Options, portOf } from "./options.ts";
import { dirname } from "./paths.ts";

const DNS_PORT = 53;

/** What executing ourselves takes: our own file, and the loader its header names (glibc's and musl's). */
const EXECUTABLES = [
  "/proc/self/exe",
  "/lib64/ld-linux-x86-64.so.2",
  "/lib/ld-linux-aarch64.so.1",
  "/lib/ld-musl-x86_64.so.1",
  "/lib/ld-musl-aarch64.so.1",
];

/**
 * No writing but into the directories of --server-info and --dump-dir, no executing but of ourselves, no connecting but to the upstream's port, its
 * HTTPS proxy's and DNS, no binding but of our port, no signals and abstract sockets to others. Best effort: answers whether the
 * kernel took it. Reading is not restricted, nor are addresses: Landlock knows ports only.
 */
export function shutIn(options: Options, environment: Environment): boolean {
  return attempt(() => {
    restrict({
      writableDirectories: [
        ...(options.serverInfo === undefined ? [] : [dirname(options.serverInfo)]),
        ...(options.dumpDir === undefined ? [] : [options.dumpDir]),
      ],
      writableFiles: ["/dev/null"],
      executables: EXECUTABLES,
      connectPorts: [DNS_PORT, portOf(options.upstreamUrl), ...proxyPorts(options.upstreamUrl, environment)],
      bindPorts: [options.port],
    });
  });
}

/** Whether the restrictions of files hold: writing to /dev/zero is everybody's right otherwise. */
export function isShutIn(): boolean {
  const fd = openUnless(EACCES, AT_FDCWD, "/dev/zero", O_RDWR);
  if (fd !== undefined) close(fd);
  return fd === undefined;
}

/** No system calls but those that serving takes, on every thread; and no memory that becomes executable. Answers what holds. */
export function shutOff(): { filter: boolean; executableGain: boolean } {
  return { executableGain: forbidExecutableGain(), filter: attempt(installFilter) };
}

function attempt(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

function proxyPorts(upstreamUrl: URL, environment: Environment): number[] {
  if (isLoopback(upstreamUrl)) return [];
  const proxies = [environment["HTTPS_PROXY"], environment["https_proxy"]];
  return proxies.flatMap((proxy) => {
    const url = URL.parse(proxy ?? "");
    return url === null ? [] : [portOf(url)];
  });
}
