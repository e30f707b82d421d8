// What a service manager is told, where one waits for it: systemd's Type=notify (sd_notify(3)).

import { sendDatagram } from "../native/datagram.ts";
import { SystemCallError } from "../native/libc.ts";
import type { Environment } from "./environment.ts";
import * as terminal from "./terminal.ts";

/** Connections are accepted. */
export function notifyReady(environment: Environment, port: number): void {
  notify(environment, `READY=1\nSTATUS=listening on http://127.0.0.1:${port}`);
}

/** No new connections are accepted; exchanges in flight are ending. */
export function notifyStopping(environment: Environment): void {
  notify(environment, "STOPPING=1\nSTATUS=ending");
}

function notify({ NOTIFY_SOCKET: socket }: Environment, state: string): void {
  if (socket === undefined) return;
  try {
    sendDatagram(socket, state);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    // The sandbox closes abstract sockets (`@…`), which systemd uses only where it has no /run.
    terminal.warning(`the service manager cannot be told (NOTIFY_SOCKET, ${error.message})`);
  }
}
