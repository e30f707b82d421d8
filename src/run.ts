// A start of the proxy: options → first start → second start → secure, read the key, serve, tell where, wait, end.

import { replaceByNullDevice } from "../native/files/descriptors.ts";
import { isDumpable, parentPid } from "../native/process/process.ts";
import { EXIT, type ExitCode } from "./base/errors.ts";
import * as terminal from "./base/terminal.ts";
import { openDumpDirectory } from "./files/dump-directory.ts";
import { openLogFile } from "./files/log-file.ts";
import { writeServerInfo } from "./files/server-info.ts";
import type { Environment } from "./input/environment.ts";
import { type Options, parseOptions } from "./input/options.ts";
import { PARENT, STARTER } from "./input/starter.ts";
import type { Authorization } from "./key/authorization.ts";
import { keyCredential } from "./key/credential.ts";
import { readKeyFromStandardInput } from "./key/key.ts";
import type { Renewal } from "./key/oidc/renewal.ts";
import { stageOf } from "./lockdown/reexec.ts";
import { firstStart, refuseGaps, secondStart } from "./lockdown/starts.ts";
import { Upstream } from "./proxy/upstream.ts";
import type { Dump } from "./report/dump.ts";
import { Journal } from "./report/journal.ts";
import { ServiceManager } from "./report/service-manager.ts";
import { reportEnding, reportStart } from "./report/start.ts";
import { Starter } from "./report/starter.ts";
import { openEarly, removeEarly } from "./server/early.ts";
import { endAfter, type Endings, endings, PARENT_ENDED } from "./server/endings.ts";
import { turnAwayWhenFull } from "./server/overload.ts";
import { listen } from "./server/server.ts";

/** How long unfinished dumps may keep a program that was asked to end. */
const MAX_FINISHING_MS = 5000;

/** Returns when the proxy has been asked to end, or with --background when it serves. Throws UserError if it cannot start. */
export async function start(rawArguments: readonly string[], environment: Environment): Promise<ExitCode> {
  const options = parseOptions(rawArguments);
  if (options === "help" || options === "version") {
    const { usage, versionLine } = await import("./input/usage.ts");
    terminal.output(options === "help" ? await usage() : versionLine());
    return EXIT.clean;
  }
  terminal.setStyle(options);
  if (options.background && environment[STARTER] === undefined) {
    const { startInBackground } = await import("./commands/background.ts");
    return await startInBackground(options, environment);
  }
  const wasDumpable = isDumpable();
  const checked = stageOf(environment) === "reexec" ? options : firstStart([], options, environment);
  await run(checked, environment, { wasDumpable });
  return EXIT.clean;
}

/** The second start. */
async function run(
  options: Options,
  environment: Environment,
  { wasDumpable }: { wasDumpable: boolean },
): Promise<void> {
  // Before anything that takes time.
  ignoreUserSignal();
  const ending = endings();
  // Before the kernel may send the signal: its default effect would leave files behind.
  const lookForParent = options.exitWithParent
    ? endWithParent(environment, () => ending.end(PARENT_ENDED))
    : undefined;
  const manager = new ServiceManager(environment);
  const starter = Starter.of(environment);
  const { protections, keyPages, early } = secondStart(options, wasDumpable, () => {
    if (options.logFile !== undefined) terminal.logTo(openLogFile(options.logFile));
    return openEarly(options, { token: starter?.isRun === true });
  });
  // For every way to end; at an orderly end they are removed earlier, when no new connections are accepted.
  process.on("exit", () => removeEarly(early));
  if (options.strict) refuseGaps(protections);
  lookForParent?.();

  // fetch's thread is started while the key is awaited, and before listening: started later, with no descriptor left, it would end the program.
  const thread = Upstream.startThread();
  const isRequestToken = options.githubOidc !== undefined;
  // A starter with --background is no parent to end with, but until connections are accepted it must be there.
  const asked = () =>
    ending.signal() ?? (starter !== undefined && hasParentEnded(environment) ? PARENT_ENDED : undefined);
  const authorization = await readKeyFromStandardInput(keyPages, asked, { isRequestToken });
  replaceByNullDevice(0);
  // Nothing is printed there. A starter's is the socket to it (starter.ts).
  if (starter === undefined) replaceByNullDevice(1);
  terminal.silenceRuntime();

  const journal = new Journal(await openDump(options));
  await thread;
  const tokens = await openTokens(options, authorization, ending);
  const upstream = new Upstream(options, environment, tokens ?? keyCredential(authorization));
  const askedToEnd = (inFlight: number): void => ending.end("GET /shutdown", inFlight);
  const server = listen(options, early, upstream, journal, askedToEnd);
  turnAwayWhenFull(server);
  const where = { port: server.port, socket: options.socket };
  const info = options.serverInfo === undefined ? undefined : writeServerInfo(options.serverInfo, where);
  process.on("exit", () => info?.remove());
  reportStart(where, options, environment, protections);
  tokens?.reportStart();
  manager.ready(where);
  if (options.logFile !== undefined || options.background) terminal.leaveStandardError();
  starter?.ready(where, early.token?.exposeForClient(), (block) => authorization.entriesWithKey(block));
  reportAtSignal(journal);
  if (options.lifetimeMs !== undefined) endAfter(options.lifetimeMs, () => ending.end("--lifetime"));
  const { cause, inFlight } = await ending.asked;
  reportEnding(cause, inFlight ?? server.inFlight());
  manager.stopping();
  info?.remove();
  removeEarly(early);
  await Promise.race([
    server.stop(options.shutdownTimeoutMs, (count) => journal.cutOff(count)),
    ending.insisted,
  ]);
  await Promise.race([journal.finish(), ending.insisted, Bun.sleep(MAX_FINISHING_MS)]);
  journal.reportTotals();
  const isShown = options.logFile === undefined && terminal.shows("info");
  const totals = isShown || !terminal.shows("warn") ? undefined : journal.totals().text;
  starter?.ended({ unasked: cause === "--lifetime", totals });
}

/** With --github-oidc: access tokens, the first of which is there, and which authorize in place of a key. */
async function openTokens(
  { githubOidc }: Options,
  requestToken: Authorization,
  { asked }: Endings,
): Promise<Renewal | undefined> {
  if (githubOidc === undefined) return undefined;
  const { firstToken } = await import("./key/oidc/first-token.ts");
  return await firstToken(githubOidc, requestToken, asked);
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

function reportAtSignal(journal: Journal): void {
  process.on("SIGUSR1", () => journal.reportTotals("so far"));
}

const LOOK_FOR_PARENT_EVERY_MS = 5000;

/**
 * Ends the program when its parent has ended. The kernel sends SIGUSR2, which secondStart asks for, when the thread that started this process
 * ends: others of the parent may go on. It sends none if the parent had become another user; then a timer sees it. Returns a function that looks
 * once, for a parent that ended before secondStart asked.
 */
function endWithParent(environment: Environment, end: () => void): () => void {
  const look = (): void => {
    if (hasParentEnded(environment)) end();
  };
  process.on("SIGUSR2", look);
  setInterval(look, LOOK_FOR_PARENT_EVERY_MS).unref();
  return look;
}

function hasParentEnded({ [PARENT]: parent }: Environment): boolean {
  return parent !== String(parentPid());
}
