// What the second start must open before the filter: the Unix socket, the client token's file with its group, and the way to ask whose a
// connection is.

import { groupNumber } from "../files/places.ts";
import type { Options } from "../input/options.ts";
import { ClientToken } from "../key/client-token.ts";
import { openDiagnostics } from "./callers.ts";
import { SocketListener } from "./socket.ts";

export type EarlyOpened = {
  socket: SocketListener | undefined;
  token: ClientToken | undefined;
  diagnostics: number | undefined;
};

/** `run` needs a client token, but no file of it. Groups are numbers by now. Throws UserError. */
export function openEarly(options: Options, needs: { token: boolean }): EarlyOpened {
  const { socket, socketMode, socketGroup, clientToken, clientTokenGroup, allowUsers, logLevel, port } =
    options;
  const asksWho = port !== undefined && (allowUsers.length > 0 || logLevel === "debug");
  // First, because it leaves nothing behind.
  const diagnostics = asksWho ? openDiagnostics({ must: allowUsers.length > 0 }) : undefined;
  const listener =
    socket === undefined
      ? undefined
      : new SocketListener(socket, { mode: socketMode, gid: groupNumber(socketGroup) });
  try {
    const token =
      clientToken !== undefined
        ? ClientToken.create(clientToken, groupNumber(clientTokenGroup))
        : needs.token
          ? ClientToken.withoutFile()
          : undefined;
    return { socket: listener, token, diagnostics };
  } catch (error) {
    listener?.file.remove();
    throw error;
  }
}

/** Removes what was opened, in whatever state it is. */
export function removeEarly({ socket, token }: EarlyOpened): void {
  socket?.file.remove();
  token?.file?.remove();
}
