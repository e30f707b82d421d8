// --server-info: the one line that tells programs where the proxy is: {"port":N,"pid":N}, with "socket" if it listens on one.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { readText } from "../../native/files/files.ts";
import { UserError } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { rootAndSelf } from "./owners.ts";
import { serverInfoPlace } from "./places.ts";
import { PublishedFile, withText } from "./published.ts";
import { readServerInfo } from "./server-info-reader.ts";

/** Where the proxy listens. */
export type Listening = { port: number | undefined; socket: string | undefined };

/** In words. */
export function addressesOf({ port, socket }: Listening): string[] {
  return [
    ...(port === undefined ? [] : [`http://127.0.0.1:${port}`]),
    ...(socket === undefined ? [] : [socket]),
  ];
}

const MODE = 0o644;

/**
 * Warns if the file names a proxy that is running: two proxies can share a file by mistake, and then nobody finds the first. A start in the background
 * that takes nothing over is refused instead: nobody would see the warning in time. `isTrial`: nothing is replaced, as by doctor. Throws UserError.
 */
export function noteRunningProxy(path: string, { background, socket }: NewProxy, isTrial: boolean): void {
  const info = readServerInfo(path, rootAndSelf());
  if ("reason" in info || !isProxyProcess(info.pid)) return;
  const where = info.port === undefined ? `socket ${info.socket}` : `port ${info.port}`;
  const running = `'${path}' names a proxy that is running (pid ${info.pid}, ${where})`;
  const isTakeover = socket !== undefined && info.socket === socket;
  const hint = isTakeover
    ? `once this one serves, end that one: kill ${info.pid}`
    : `end that proxy (kill ${info.pid}), or give each a --server-info file of its own`;
  if (background && !isTakeover) throw new UserError(running, undefined, [hint]);
  if (isTrial) terminal.warning(`${running}: a start would replace the file`);
  else terminal.warning(`${running}: it is replaced`, [hint]);
}

/** Whether the file names a proxy that is running, and has this port. */
export function isRunningProxys(port: number, path: string): boolean {
  const info = readServerInfo(path, rootAndSelf());
  return !("reason" in info) && info.port === port && isProxyProcess(info.pid);
}

type NewProxy = { background: boolean; socket: string | undefined };

/** Whether the process is a proxy of this program, by the name that the second start gives it. */
export function isProxyProcess(pid: number): boolean {
  try {
    const status = readText(`/proc/${pid}/status`);
    // A zombie has ended: its parent has not noticed yet.
    return status.startsWith(`Name:\t${PROCESS_NAME}\n`) && !/^State:\tZ/m.test(status);
  } catch (error) {
    // It is gone, or /proc hides it (hidepid).
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

/** In ps(1) and top(1), at most 15 bytes. */
export const PROCESS_NAME = "responses-proxy";

/** Writes the file. Clients are other users, who must be able to read it: so the first start sets the umask. Throws UserError. */
export function writeServerInfo(path: string, { port, socket }: Listening): PublishedFile {
  const text = `${JSON.stringify({ port, socket, pid: process.pid })}\n`;
  const file = PublishedFile.create(serverInfoPlace(path), withText(text, MODE));
  file.publish();
  return file;
}
