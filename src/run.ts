// The life of the process after the second start: secure, read the key, serve, tell where, wait, end.

import { replaceByNullDevice } from "../native/files/descriptors.ts";
import * as terminal from "./base/terminal.ts";
import { openDumpDirectory } from "./files/dump-directory.ts";
import { writeServerInfo } from "./files/server-info.ts";
import type { Environment } from "./input/environment.ts";
import type { Options } from "./input/options.ts";
import { readKeyFromStandardInput } from "./key/key.ts";
import { refuseGaps, secondStart } from "./lockdown/starts.ts";
import { turnAwayWhenFull } from "./proxy/overload.ts";
import { listen } from "./proxy/server.ts";
import { Upstream } from "./proxy/upstream.ts";
import type { Dump } from "./report/dump.ts";
import { Journal } from "./report/journal.ts";
import { ServiceManager } from "./report/service-manager.ts";
import { reportEnding, reportStart } from "./report/start.ts";

/** How long unfinished dumps may keep a program that was asked to end. */
const MAX_FINISHING_MS = 5000;

/** Runs until it is asked to end. Throws UserError if it cannot start. */
export async function run(options: Options, environment: Environment): Promise<void> {
  const manager = new ServiceManager(environment);
  const { protections, keyPages } = secondStart(options);
  if (options.strict) refuseGaps(protections);
  ignoreUserSignal();

  // fetch's thread is started while the key is awaited, and before listening: started later, with no descriptor left, it would end the program.
  const thread = Upstream.startThread();
  const authorization = readKeyFromStandardInput(keyPages);
  // Not before: a handler could not run while read(2) waits, and without one these signals have their default effect.
  const ending = endings();
  replaceByNullDevice(0);
  terminal.silenceRuntime();

  const upstream = new Upstream(options, authorization);
  const journal = new Journal(await openDump(options));
  await thread;
  const server = listen(options, upstream, journal, (inFlight) => ending.end("GET /shutdown", inFlight));
  turnAwayWhenFull(server.port, server.closeIdle);
  const info =
    options.serverInfo === undefined ? undefined : writeServerInfo(options.serverInfo, server.port);
  // For every way to end; at an orderly end it is removed earlier, when no new connections are accepted.
  process.on("exit", () => info?.remove());
  reportStart(server.port, options, environment, protections);
  manager.ready(server.port);
  const { cause, inFlight } = await ending.asked;
  reportEnding(cause, inFlight ?? server.inFlight());
  manager.stopping();
  info?.remove();
  await Promise.race([server.stop(options.shutdownTimeoutMs), ending.insisted]);
  await Promise.race([journal.finish(), ending.insisted, Bun.sleep(MAX_FINISHING_MS)]);
  journal.reportTotals();
}

/** The dump, if --dump-dir was given. */
async function openDump({ dumpDir }: Options): Promise<Dump | undefined> {
  if (dumpDir === undefined) return undefined;
  const { Dump } = await import("./report/dump.ts");
  return new Dump(openDumpDirectory(dumpDir));
}

/** Without a handler SIGUSR1 kills Bun 1.4.5; a later Bun may open a debugger at it. */
function ignoreUserSignal(): void {
  process.on("SIGUSR1", () => {});
}

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
/** What can ask the program to end. */
type Cause = (typeof SIGNALS)[number] | "GET /shutdown";

type Endings = {
  end: (cause: Cause, inFlight?: number) => void;
  /** Resolves at the first signal or GET /shutdown; the latter knows how many other exchanges are in flight. */
  asked: Promise<{ cause: Cause; inFlight: number | undefined }>;
  /** Resolves at a signal after that. */
  insisted: Promise<void>;
};

/** SIGTERM, SIGINT and SIGHUP end the program; a second one ends it at once. */
function endings(): Endings {
  const asked = Promise.withResolvers<{ cause: Cause; inFlight: number | undefined }>();
  const insisted = Promise.withResolvers<void>();
  let isEnding = false;
  const end: Endings["end"] = (cause, inFlight) => {
    isEnding = true;
    asked.resolve({ cause, inFlight });
  };
  for (const signal of SIGNALS) process.on(signal, () => (isEnding ? insisted.resolve() : end(signal)));
  return { end, asked: asked.promise, insisted: insisted.promise };
}
