// Who may spend the key: the users of --allow-user, by the owner of the client's socket, and clients that send the client token.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { openSocketDiagnostics, SocketOwner } from "../../native/sockets/socket-owner.ts";
import { UserError } from "../base/errors.ts";
import { onceIn } from "../base/seldom.ts";
import * as terminal from "../base/terminal.ts";
import type { ClientToken } from "../key/client-token.ts";
import type { Refusal } from "../proxy/policy.ts";

/** A client that may be served, in words for the log; undefined if nothing is known of it. */
type Caller = { by: string | undefined };

const ANYBODY: Caller = { by: undefined };

type Connection = Pick<Bun.Server<undefined>, "requestIP" | "port">;

export class Callers {
  readonly #allowed: ReadonlySet<number>;
  readonly #token: ClientToken | undefined;
  readonly #owners: SocketOwner | undefined;
  readonly #isTimeToWarn = onceIn(60_000);

  private constructor(allowed: readonly number[], token: ClientToken | undefined, owners?: SocketOwner) {
    this.#allowed = new Set(allowed);
    this.#token = token;
    this.#owners = owners;
  }

  /** `diagnostics` is from `openDiagnostics`. Throws UserError if the kernel cannot be asked whose a connection is, and it must be. */
  static for(
    allowed: readonly number[],
    token: ClientToken | undefined,
    diagnostics: number | undefined,
    port: number | undefined,
  ): Callers {
    if (diagnostics === undefined || port === undefined) return new Callers(allowed, token);
    try {
      return new Callers(allowed, token, new SocketOwner(diagnostics, port));
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      if (allowed.length > 0) throw cannotAsk(error);
      return new Callers(allowed, token);
    }
  }

  /** Asks the kernel for every request: ports are used again, so nothing is remembered. */
  admit(request: Request, connection: Connection): Refusal | Caller {
    if (this.#owners === undefined && this.#token === undefined && this.#allowed.size === 0) return ANYBODY;
    // A Unix socket has no port; its mode and group guard it.
    const isTcp = connection.port !== undefined;
    const uid = isTcp ? this.#ownerOf(request, connection) : undefined;
    const user = uid === undefined ? undefined : `user ${uid}`;
    if (isTcp && this.#allowed.size > 0 && (uid === undefined || !this.#allowed.has(uid)))
      return { ...USER_REFUSED, by: user ?? "a user that is not known any more" };
    if (this.#token !== undefined) {
      if (!this.#token.matches(request.headers.get("authorization"))) return { ...TOKEN_REFUSED, by: user };
      return { by: user === undefined ? "token" : `${user}, token` };
    }
    return { by: user };
  }

  #ownerOf(request: Request, connection: Connection): number | undefined {
    // Null once the client has reset the connection, whose request may be read all the same.
    const client = connection.requestIP(request);
    if (client === null) return undefined;
    const uid = this.#askFor(client);
    // Looked at again: had the client reset it in between, the port could have been another user's when the kernel was asked.
    return connection.requestIP(request) === null ? undefined : uid;
  }

  /** Undefined also if the kernel cannot be asked, for want of memory for example: with --allow-user that is a refusal, and no bug of the proxy's. */
  #askFor(client: { address: string; port: number }): number | undefined {
    try {
      return this.#owners?.ownerOf(client);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      if (this.#allowed.size > 0 && this.#isTimeToWarn())
        terminal.warning(`--allow-user: ${DOES_NOT_SAY} (${error.message}), so it is refused`);
      return undefined;
    }
  }
}

/** Opens what asking requires, before the filter forbids it. Throws UserError if it `must` succeed. */
export function openDiagnostics({ must }: { must: boolean }): number | undefined {
  try {
    return openSocketDiagnostics();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    if (must) throw cannotAsk(error);
    return undefined;
  }
}

const DOES_NOT_SAY = "the kernel does not say whose a connection is";

function cannotAsk({ message }: SystemCallError): UserError {
  return new UserError(`--allow-user: ${DOES_NOT_SAY} (${message})`, undefined, [
    "it must have CONFIG_INET_DIAG; gVisor has not: use --socket or --client-token there",
  ]);
}

const USER_REFUSED: Refusal = {
  code: "user_refused",
  message: "refused by responses-api-proxy: this user may not use it (--allow-user)",
};

const TOKEN_REFUSED: Refusal = {
  status: 401,
  code: "token_refused",
  message: "refused by responses-api-proxy: the client token is missing or wrong; send it as the API key",
  headers: { "www-authenticate": "Bearer" },
};
