// Whether the proxy that a server-info file names is alive, and is that proxy. Works from outside, for any user, without a route of its own: the
// proxy answers a request that it refuses with its own Server field.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { readText } from "../../native/files/files.ts";
import { causeOf } from "../base/errors.ts";
import { SERVER } from "../base/version.ts";
import { rootAndSelf } from "../files/owners.ts";
import { readServerInfo } from "../files/server-info-reader.ts";
import { isProxyProcess } from "../files/server-info.ts";
import { listenerUid, socketUid } from "./listener.ts";

export type ProxyState =
  | {
      alive: true;
      port: number | undefined;
      socket: string | undefined;
      pid: number;
      version: string;
      since: Date | undefined;
    }
  /** `stale`: there is a file, and what it says is over. `owner`: it is not believed, because that user could have put it there. */
  | { alive: false; stale: boolean; reason: string; owner?: number };

const MAX_HEAD_BYTES = 16_384;
/**
 * A relative path would be looked for in the asker's directory, and its owner elsewhere; at an empty one Bun.connect throws; and the kernel ends a
 * path at a NUL.
 */
const ABSOLUTE = /^\/[^\0]*$/;
/** The time the kernel was started at is known to a second (proc_stat(5)). */
const START_TOLERANCE_MS = 2000;
const CLOCK_TICKS_PER_SECOND = 100; // USER_HZ, on every architecture (proc_pid_stat(5))

/**
 * Looks once, in at most `timeoutMs`. The file is believed if nobody but root, the asker and `trusted` could have put it there. Throws nothing
 * that a file, a port or a process could cause.
 */
export async function probeProxy(
  file: string,
  trusted: number | undefined,
  timeoutMs: number,
): Promise<ProxyState> {
  const trustedUsers = [...rootAndSelf(), ...(trusted === undefined ? [] : [trusted])];
  const info = readServerInfo(file, trustedUsers);
  if ("reason" in info) return { alive: false, stale: false, ...info };
  const { port, socket, pid, uid, modified } = info;
  const where = port === undefined ? `socket ${socket}` : `port ${port}`;
  const stale = (reason: string): ProxyState => ({ alive: false, stale: true, reason });
  if (socket !== undefined && !ABSOLUTE.test(socket)) return stale(`${where} has no absolute path`);
  if (!isThere(pid)) return stale(`process ${pid} is gone`);
  const answer = await ask(port === undefined ? { unix: socket! } : { port }, timeoutMs);
  if ("failure" in answer) return stale(`${where} does not answer (${answer.failure})`);
  const version = /^HTTP\/1\.1 \d+ [\s\S]*\r\nserver: responses-api-proxy\/([\w.+-]{1,50})\r\n/i.exec(
    answer.head,
  )?.[1];
  if (version === undefined) return stale(`${where} answers as another program`);
  const since = startOf(pid);
  // A program that took the port over can answer like the proxy, but not as the file's user (or, if root has the file, the process's).
  const listener = port === undefined ? socketUid(socket!, trustedUsers) : listenerUid(port);
  const owner = uid === 0 ? processUid(pid) : uid;
  if (listener === "nobody")
    return stale(
      port === undefined
        ? `${where} could have been put there by another user`
        : `${where} is another program's, on another address than 127.0.0.1`,
    );
  // With hidepid, /proc does not show the processes of others. What root's file names may still be root's.
  if (listener !== undefined && listener !== 0 && owner === undefined)
    return {
      alive: false,
      stale: false,
      reason: `${where} is user ${listener}'s, and /proc does not show whose process ${pid} is`,
    };
  if (listener !== undefined && owner !== undefined && listener !== owner)
    return stale(`${where} is user ${listener}'s, and the proxy was user ${owner}'s`);
  // The kernel uses process IDs again, within seconds if somebody wants one. So if the file is root's and the process another user's, the
  // process must be older than the file. (Not otherwise: the clock may have been set since.)
  const vouches = uid === 0 && listener !== 0;
  if (vouches && since !== undefined && since.getTime() > modified.getTime() + START_TOLERANCE_MS)
    return stale(`process ${pid} is another, started later than the file was written`);
  return { alive: true, port, socket, pid, version, since: isProxyProcess(pid) ? since : undefined };
}

/** What to do about a file that is not believed. */
export function hintsFor({ owner }: ProxyState & { alive: false }): string[] {
  return owner === undefined
    ? []
    : [`user ${owner} could have put it there; --of-user=${owner} trusts that user`];
}

/** Asks by signal 0: /proc may hide the processes of others (hidepid), kill(2) does not. */
function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return causeOf(error) === "EPERM";
  }
}

/** The head of the answer to a request that the proxy refuses. */
async function ask(
  where: { port: number } | { unix: string },
  timeoutMs: number,
): Promise<{ head: string } | { failure: string }> {
  const answered = Promise.withResolvers<{ head: string } | { failure: string }>();
  const timer = setTimeout(() => answered.resolve({ failure: "ETIMEDOUT" }), timeoutMs);
  let received = "";
  const take = (bytes: Buffer): void => {
    received += bytes.toString("latin1");
    const end = received.indexOf("\r\n\r\n");
    if (end !== -1 || received.length > MAX_HEAD_BYTES)
      answered.resolve({ head: received.slice(0, end + 2) });
  };
  const address = "unix" in where ? where : { hostname: "127.0.0.1", ...where };
  const connecting = Bun.connect({
    ...(address as { unix: string }),
    socket: {
      open: (socket) =>
        void socket.write(
          `GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ${SERVER}\r\nConnection: close\r\n\r\n`,
        ),
      data: (_socket, bytes) => take(bytes),
      close: () => answered.resolve({ failure: "it closed the connection" }),
      error: (_socket, error) => answered.resolve({ failure: causeOf(error) }),
    },
  });
  connecting.catch((error: unknown) => answered.resolve({ failure: causeOf(error) }));
  const answer = await answered.promise;
  clearTimeout(timer);
  connecting.then(
    (socket) => socket.terminate(),
    () => {},
  );
  return answer;
}

function processUid(pid: number): number | undefined {
  const [, , effective] = /^Uid:\t(\d+)\t(\d+)/m.exec(readOrNothing(`/proc/${pid}/status`)) ?? [];
  return effective === undefined ? undefined : Number(effective);
}

/** When the process was started: the 22nd field (proc_pid_stat(5)), counted from behind the name, which may have blanks in it. */
function startOf(pid: number): Date | undefined {
  const stat = readOrNothing(`/proc/${pid}/stat`);
  const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const [, booted] = /^btime (\d+)$/m.exec(readOrNothing("/proc/stat")) ?? [];
  if (ticks === undefined || booted === undefined) return undefined;
  return new Date(1000 * (Number(booted) + Number(ticks) / CLOCK_TICKS_PER_SECOND));
}

function readOrNothing(path: string): string {
  try {
    return readText(path);
  } catch (error) {
    if (error instanceof SystemCallError) return "";
    throw error;
  }
}
