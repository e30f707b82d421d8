// `responses-api-proxy status <server-info>`: one line, or one JSON object, and an exit code.

import { EXIT, type ExitCode, UserError } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { addressesOf } from "../files/server-info.ts";
import { quote } from "../input/arguments.ts";
import { hintsFor, probeProxy, type ProxyState } from "./probe.ts";

const TIMEOUT_MS = 2000;

/** Returns 0 if that proxy is alive. Otherwise returns 1 with `json`, and throws UserError with exit code 1 without. */
export async function status(
  file: string,
  { json, ofUser }: { json: boolean; ofUser: number | undefined },
): Promise<ExitCode> {
  const found = await probeProxy(file, ofUser, TIMEOUT_MS);
  if (json) {
    terminal.output(terminal.printable(JSON.stringify(toJson(found))));
    return found.alive ? EXIT.clean : EXIT.cannotStart;
  }
  if (!found.alive) throw notAlive(file, found);
  const { pid, version, since } = found;
  const started = since === undefined ? "" : `, since ${timeOf(since)}`;
  terminal.output(
    `responses-api-proxy ${version} on ${addressesOf(found).join(" and ")}, pid ${pid}${started}`,
  );
  return EXIT.clean;
}

function notAlive(file: string, found: ProxyState & { alive: false }): UserError {
  const { stale, reason } = found;
  const message = stale ? `${quote(file)} is stale: ${reason}` : `no proxy by ${quote(file)}: ${reason}`;
  return new UserError(message, undefined, hintsFor(found));
}

function toJson(found: ProxyState): object {
  if (!found.alive) {
    const { alive, stale, reason } = found;
    return { alive, stale, reason };
  }
  const { since, ...rest } = found;
  return { ...rest, since: since === undefined ? null : timeOf(since) };
}

/** Without the milliseconds, which the kernel's clock ticks do not have. */
function timeOf(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}
