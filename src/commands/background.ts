// --background: the start that returns. The proxy lives on in a session of its own, with nothing of the caller's open.

import { makeUndumpable } from "../../native/process/process.ts";
import { EXIT, type ExitCode } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { addressesOf } from "../files/server-info.ts";
import type { Environment } from "../input/environment.ts";
import type { Options } from "../input/options.ts";
import { startProxy } from "./run/launch.ts";
import { awaitReady, send } from "./run/ready.ts";

/** Prints the base URL, or the socket's path, once connections are accepted; else returns the proxy's exit code. */
export async function startInBackground(options: Options, environment: Environment): Promise<ExitCode> {
  // The key's pipe is standard input here, too.
  makeUndumpable();
  const proxy = startProxy("background", options, environment);
  send(proxy.channel, []);
  const ready = awaitReady(proxy);
  if (ready === undefined) return await proxy.exitCode();
  try {
    terminal.output(addressesOf(ready)[0]!);
  } catch (error) {
    // A start that fails leaves no proxy.
    process.kill(proxy.pid, "SIGTERM");
    throw error;
  }
  return EXIT.clean;
}
