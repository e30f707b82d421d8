// The life of the process after the second start, in order: harden, key, serve, server-info, wait.

import { replaceByNull } from "../native/files/descriptors.ts";
import { EXIT, UserError } from "./base/errors.ts";
import * as terminal from "./base/terminal.ts";
import { openDumpDirectory } from "./files/dump-directory.ts";
import { writeServerInfo } from "./files/server-info.ts";
import { type Environment, trustVariables } from "./input/environment.ts";
import type { Options } from "./input/options.ts";
import { reportSlips } from "./input/slips.ts";
import { readKeyFromStandardInput } from "./key/key.ts";
import { harden, type Protections } from "./lockdown/harden.ts";
import { turnAwayWhenFull } from "./proxy/overload.ts";
import { listen } from "./proxy/server.ts";
import { Upstream } from "./proxy/upstream.ts";
import type { Dump } from "./report/dump.ts";
import { Journal } from "./report/journal.ts";
import { ServiceManager } from "./report/service-manager.ts";

/** How long unfinished dumps may keep a program that has been asked to end. */
const MAX_FINISHING_MS = 5000;

/** Runs until it is asked to end. Throws UserError where it cannot start. */
export async function run(options: Options, environment: Environment): Promise<void> {
  const manager = new ServiceManager(environment);
  const protections = harden(options);
  ignoreUserSignal();

  // Started while the key is awaited, and waited for before anybody can connect: with no descriptor left it would end the program.
  const thread = Upstream.startThread();
  const { authorization, missing } = readKeyFromStandardInput();
  if (options.strict && missing.length > 0) throw new UserError(notHeld(missing.join(", ")), EXIT.strict);
  // Not before: a handler could not run while read(2) waits, and without one these signals end the program as they end any other.
  const ending = endings();
  replaceByNull(0);
  terminal.silenceRuntime();

  const upstream = new Upstream(options, authorization);
  const journal = new Journal(await openDump(options));
  await thread;
  const server = listen(options, upstream, journal, (inFlight) => ending.end("GET /shutdown", inFlight));
  turnAwayWhenFull(server.port, server.closeIdle);
  const info =
    options.serverInfo === undefined ? undefined : writeServerInfo(options.serverInfo, server.port);
  // However the program ends; at the end that is asked for, once nobody new is let in.
  process.on("exit", () => info?.remove());
  reportStart(server.port, options, environment);
  reportProtections(protections, missing);
  reportSlips(options, environment);
  manager.ready(server.port);
  compileAsUsual();
  const { cause, inFlight } = await ending.asked;
  reportEnding(cause, inFlight ?? server.inFlight());
  manager.stopping();
  info?.remove();
  await Promise.race([server.stop(options.shutdownTimeoutMs), ending.insisted]);
  await Promise.race([journal.finish(), ending.insisted, Bun.sleep(MAX_FINISHING_MS)]);
  journal.reportTotals();
}

/** The build has the start interpreted for longer (`--compile-jit-policy`, 0.4 ms of 15); what serves is compiled as it deserves. */
function compileAsUsual(): void {
  Bun.unsafe.setJITPolicy(1);
}

/** Where exchanges are dumped to, if they are to be. */
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
/** What may ask the program to end. */
type Cause = (typeof SIGNALS)[number] | "GET /shutdown";

type Endings = {
  end: (cause: Cause, inFlight?: number) => void;
  /** Resolved by the first signal or GET /shutdown, with which of them it was, and what the latter knows of other exchanges. */
  asked: Promise<{ cause: Cause; inFlight: number | undefined }>;
  /** Resolved by a signal after that. */
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

function reportStart(port: number, { upstreamUrl, dumpDir }: Options, environment: Environment): void {
  // A query may be anything, an api-version or a secret; it is left out.
  terminal.info(
    `listening on http://127.0.0.1:${port}, forwarding to ${upstreamUrl.origin}${upstreamUrl.pathname}`,
    { event: "listening", port, pid: process.pid, upstream: `${upstreamUrl.origin}${upstreamUrl.pathname}` },
  );
  const trust = trustVariables(environment);
  if (trust.length > 0)
    terminal.info(`in force from the environment: ${trust.join(" ")}`, {
      event: "environment",
      in_force: trust,
    });
  if (dumpDir !== undefined)
    terminal.warning(`every request and answer is written to ${dumpDir}, prompts included`);
}

function reportEnding(cause: Cause, inFlight: number): void {
  const text = `${cause}: ending, ${inFlight} ${inFlight === 1 ? "exchange" : "exchanges"} in flight`;
  terminal.info(text, { event: "ending", cause, in_flight: inFlight });
}

function reportProtections({ held, missing }: Protections, missingForKey: readonly string[]): void {
  terminal.info(`protections: ${held.join(", ")}`, { event: "protections", held });
  for (const { message, hints } of missing) {
    terminal.warning(message, hints);
  }
  for (const call of missingForKey) terminal.warning(notHeld(call));
}

function notHeld(call: string): string {
  return `${call} failed for the pages the key was read into`;
}
