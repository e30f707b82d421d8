// Tells a service manager that the proxy is ready and that it is ending: systemd's Type=notify (sd_notify(3)).

import { SystemCallError } from "../../native/ffi/libc.ts";
import { connectDatagram, sendDatagram } from "../../native/sockets/datagram.ts";
import * as terminal from "../base/terminal.ts";
import { addressesOf, type Listening } from "../files/server-info.ts";
import type { Environment } from "../input/environment.ts";

/** The connection to it, made before the filter forbids that; no connection if nobody waits. */
export class ServiceManager {
  readonly #fd: number | undefined;
  /** Why there is no connection although a service manager waits. */
  readonly #failure: SystemCallError | undefined;

  constructor({ NOTIFY_SOCKET: socket }: Environment) {
    try {
      this.#fd = socket === undefined ? undefined : connectDatagram(socket);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      // The sandbox forbids abstract sockets (`@…`); systemd uses them only without /run.
      this.#failure = error;
    }
  }

  /** Connections are accepted. */
  ready(where: Listening): void {
    if (this.#failure !== undefined) warn(this.#failure);
    this.#notify(`READY=1\nSTATUS=listening on ${addressesOf(where).join(" and ")}`);
  }

  /** No new connections are accepted; exchanges in flight are ending. */
  stopping(): void {
    this.#notify("STOPPING=1\nSTATUS=ending");
  }

  #notify(state: string): void {
    if (this.#fd === undefined) return;
    try {
      sendDatagram(this.#fd, state);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      warn(error);
    }
  }
}

function warn({ message }: SystemCallError): void {
  terminal.warning(`the service manager cannot be told (NOTIFY_SOCKET, ${message})`);
}
