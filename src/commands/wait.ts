// `responses-api-proxy wait <server-info>`: waits until that proxy is ready. A stale file from an earlier run is ignored.

import { EXIT, type ExitCode, UserError } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { addressesOf } from "../files/server-info.ts";
import { quote } from "../input/arguments.ts";
import { hintsFor, probeProxy } from "./probe.ts";

const LOOK_EVERY_MS = 10;
/** For a program that has the port and is silent. */
const ANSWER_WITHIN_MS = 1000;

/** Writes the base URL, or the path of the socket if there is no port, to standard output once the proxy is ready. Throws UserError with exit code 1 after `maxMs`. */
export async function wait(file: string, ofUser: number | undefined, maxMs: number): Promise<ExitCode> {
  const end = performance.now() + maxMs;
  for (;;) {
    const left = end - performance.now();
    const found = await probeProxy(file, ofUser, Math.max(LOOK_EVERY_MS, Math.min(left, ANSWER_WITHIN_MS)));
    if (found.alive) {
      terminal.output(addressesOf(found)[0]!);
      return EXIT.clean;
    }
    if (performance.now() + LOOK_EVERY_MS > end) {
      const message = `no proxy by ${quote(file)} in ${maxMs / 1000} s: ${found.reason}`;
      throw new UserError(message, undefined, hintsFor(found));
    }
    await Bun.sleep(LOOK_EVERY_MS);
  }
}
