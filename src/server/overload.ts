// If no file descriptor is left, new connections get 503, so that running streams do not suffer. Without this, Bun 1.4.5 tries to accept the
// same connection again and again, at 100 % of a processor, until one closes.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { duplicate } from "../../native/files/descriptors.ts";
import { close } from "../../native/files/files.ts";
import { findListeners, refusePending } from "../../native/sockets/listener.ts";
import { SERVER } from "../base/version.ts";
import { errorBody } from "../proxy/error-response.ts";
import { warnOfFull } from "../proxy/failures.ts";
import { closeIdlePools } from "../proxy/pools.ts";

const LOOK_EVERY_MS = 100;
/** While nobody is served: a proxy that is not used costs next to nothing, and nobody suffers meanwhile. */
const LOOK_WHEN_QUIET_EVERY_MS = 10_000;
const QUIET_MS = 10_000;

/**
 * Looks after the sockets that listen for as long as the process lives. `closeIdle` closes the connections that wait for a next request,
 * `quietForMs` says for how long nobody has been served.
 */
export function turnAwayWhenFull({ sockets, closeIdle, quietForMs }: Watched): void {
  const listeners = findListeners(sockets);
  // Kept to be given up: accept(2), too, needs a free descriptor.
  let spare: number | undefined = duplicate(0);
  const look = (): void => {
    // Another thread may have taken the descriptor that was freed last time: so try to get a new spare.
    spare ??= duplicateIfPossible();
    const full = isFull();
    setTimeout(look, !full && quietForMs() > QUIET_MS ? LOOK_WHEN_QUIET_EVERY_MS : LOOK_EVERY_MS).unref();
    if (!full) return;
    // Clients that are there come before requests that may come.
    closeIdlePools();
    if (spare === undefined) {
      closeIdle();
      return;
    }
    close(spare);
    const count = listeners.reduce((sum, listener) => sum + refusePending(listener, ANSWER), 0);
    spare = duplicateIfPossible();
    if (count > 0) warnOfFull();
  };
  setTimeout(look, LOOK_EVERY_MS).unref();
}

type Watched = { sockets: number; closeIdle: () => void; quietForMs: () => number };

function isFull(): boolean {
  const fd = duplicateIfPossible();
  if (fd !== undefined) close(fd);
  return fd === undefined;
}

/** Undefined if no descriptor is left: another thread may have taken the last one. */
function duplicateIfPossible(): number | undefined {
  try {
    return duplicate(0);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}

const BODY = errorBody("overloaded", "the proxy has no file descriptors left; try again later");
const HEAD = `HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nServer: ${SERVER}\r\nContent-Type: application/json`;
const ANSWER = Buffer.from(`${HEAD}\r\nContent-Length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`);
