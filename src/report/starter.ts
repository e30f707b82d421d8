// Tells the process that started this one, `run` or a start with --background, that connections are accepted, and in the end what was. Descriptor 1 is
// a socket to it: it sends its environment, then gets two messages, a JSON object each.

import { readToEnd, replaceByNullDevice } from "../../native/files/descriptors.ts";
import { writeAll } from "../../native/files/files.ts";
import { isOfPair } from "../../native/sockets/pair.ts";
import { EXIT, UserError } from "../base/errors.ts";
import type { Listening } from "../files/server-info.ts";
import type { Environment } from "../input/environment.ts";
import { type Ended, type Ready, STARTER } from "../input/starter.ts";

const CHANNEL = 1;

export class Starter {
  private constructor(
    /** Whether `run` is the starter: it needs a client token, and waits for the end. */
    readonly isRun: boolean,
  ) {}

  /** Undefined if nobody waits to be told. Throws UserError if only the variable says so: then somebody else has set it. */
  static of({ [STARTER]: name }: Environment): Starter | undefined {
    if (name === undefined) return undefined;
    if ((name !== "run" && name !== "background") || !isOfPair(CHANNEL))
      throw new UserError(`${STARTER} is internal, and nobody reads what it asks for`, EXIT.reexec, [
        `unset ${STARTER}`,
      ]);
    return new Starter(name === "run");
  }

  /**
   * Connections are accepted. `entriesWithKey` returns which entries of an environment give the key away; the environment is wiped
   * afterwards. Throws UserError if the starter is gone.
   */
  ready(
    { port, socket }: Listening,
    token: string | undefined,
    entriesWithKey: (environment: Buffer) => number[],
  ): void {
    const environment = readToEnd(CHANNEL);
    const withKey = entriesWithKey(environment);
    environment.fill(0);
    const ready: Ready = { port, socket, token, withKey };
    try {
      writeAll(CHANNEL, Buffer.from(JSON.stringify(ready)));
    } catch {
      throw new UserError("the process that started it cannot be told, or is gone");
    }
    if (!this.isRun) replaceByNullDevice(CHANNEL);
  }

  /** The proxy has ended. */
  ended(ended: Ended): void {
    if (!this.isRun) return;
    try {
      writeAll(CHANNEL, Buffer.from(JSON.stringify(ended)));
    } catch {
      // Nobody is left to be told.
    }
  }
}
