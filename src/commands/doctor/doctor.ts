// `responses-api-proxy doctor`: the start of the proxy, with the same options, stopped before the key is read. It goes through both starts, so it
// cannot say anything else than they do; then it tries the port and the way to the upstream. It opens no socket, makes no token, and does not
// ask the kernel whose a connection is.

import { isDumpable } from "../../../native/process/process.ts";
import { causeOf, EXIT, type ExitCode, UserError } from "../../base/errors.ts";
import * as terminal from "../../base/terminal.ts";
import { isRunningProxys } from "../../files/server-info.ts";
import { likelyMistakes } from "../../input/advice/mistakes.ts";
import { type Environment, trustVariables } from "../../input/environment.ts";
import { cannotListen } from "../../input/listening.ts";
import type { Options } from "../../input/options.ts";
import type { Protection } from "../../lockdown/protections.ts";
import { stageOf } from "../../lockdown/reexec.ts";
import { firstStart, secondStart } from "../../lockdown/starts.ts";
import { type Check, conclude, toJson, toLines } from "./report.ts";
import { checkHosts } from "./upstream.ts";

/**
 * Returns 0 if the proxy would start (with --strict, if that is among the options) and reach its upstream, else 1. Throws UserError if the
 * command line is wrong.
 */
export async function doctor(options: Options, json: boolean, environment: Environment): Promise<ExitCode> {
  terminal.setStyle(options);
  const checks = await refusalOr(async () => {
    const wasDumpable = isDumpable();
    const words = ["doctor", ...(json ? ["--json"] : [])];
    const checked = stageOf(environment) === "reexec" ? options : firstStart(words, options, environment);
    const { protections, keyPages } = secondStart(checked, wasDumpable, () => {});
    keyPages.wipe();
    return [
      ...protections.map(checkOf),
      ...(options.port === undefined ? [] : [checkPort(options.port, options.serverInfo)]),
      ...checkEnvironment(options, environment),
      ...(await checkHosts(options)),
    ];
  });
  const report = { upstreamUrl: options.upstreamUrl, uid: process.geteuid!(), checks };
  terminal.output(json ? toJson(report) : toLines(report, terminal.hasColours(environment)));
  const { starts, startsStrictly, reachesUpstream } = conclude(checks);
  return (options.strict ? startsStrictly : starts) && reachesUpstream ? EXIT.clean : EXIT.cannotStart;
}

/** What would keep the proxy from starting is a check; a wrong command line is thrown, as by a start. */
async function refusalOr(steps: () => Promise<Check[]>): Promise<Check[]> {
  try {
    return await steps();
  } catch (error) {
    if (error instanceof UserError && error.exitCode !== EXIT.usage) return [refusal("start", error)];
    throw error;
  }
}

function refusal(id: Check["id"], { message, hints }: UserError): Check {
  return { id, status: "fatal", found: message, advice: adviceOf(hints) };
}

function adviceOf(hints: readonly string[]): string | undefined {
  return hints.length === 0 ? undefined : hints.join("; ");
}

function checkOf({ id, held, note, gap }: Protection): Check {
  if (gap === undefined) return { id, status: "ok", found: note ?? held ?? id };
  return {
    id,
    status: "warning",
    found: gap.message,
    advice: adviceOf(gap.hints),
    isStrict: gap.isTolerated !== true,
  };
}

/** The port is free, or that of the proxy that runs with these options. */
function checkPort(port: number, serverInfo: string | undefined): Check {
  const id = "port";
  try {
    const server = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => {} } });
    server.stop(true);
    return { id, status: "ok", found: port === 0 ? "a free one on 127.0.0.1" : `127.0.0.1:${port} is free` };
  } catch (error) {
    if (serverInfo !== undefined && isRunningProxys(port, serverInfo))
      return {
        id,
        status: "ok",
        found: `127.0.0.1:${port} is the running proxy's, which --server-info names`,
      };
    return refusal(id, cannotListen(port, causeOf(error)));
  }
}

/** What of the environment decides which host is trusted, and what of it is hardly meant. */
function checkEnvironment(options: Options, environment: Environment): Check[] {
  const trust = trustVariables(environment);
  const inForce: Check = {
    id: "environment",
    status: "ok",
    found: trust.length > 0 ? `in force: ${trust.join(" ")}` : "no proxy and no certificate authority in it",
  };
  const mistakes = likelyMistakes(options, environment).map(({ message, hints }): Check => ({
    id: "options",
    status: "warning",
    found: message,
    advice: hints.join("; ") || "correct it, or leave it out",
  }));
  return [inForce, ...mistakes];
}
