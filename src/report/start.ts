// What a start and an end tell the person: where the proxy listens, what holds and what does not, and why it ends.

import * as terminal from "../base/terminal.ts";
import { addressesOf, type Listening } from "../files/server-info.ts";
import { likelyMistakes } from "../input/advice/mistakes.ts";
import { type Environment, trustVariables } from "../input/environment.ts";
import type { Options } from "../input/options.ts";
import { addressOf } from "../input/upstream-url.ts";
import type { Protection } from "../lockdown/protections.ts";

/** Once connections are accepted. */
export function reportStart(
  where: Listening,
  options: Options,
  environment: Environment,
  protections: readonly Protection[],
): void {
  const upstream = addressOf(options.upstreamUrl);
  terminal.info(`listening on ${addressesOf(where).join(" and ")}, forwarding to ${upstream}`, {
    event: "listening",
    ...where,
    pid: process.pid,
    upstream,
  });
  const trust = trustVariables(environment);
  if (trust.length > 0)
    terminal.info(`in force from the environment: ${trust.join(" ")}`, {
      event: "environment",
      in_force: trust,
    });
  if (options.dumpDir !== undefined)
    terminal.warning(`every request and answer is written to ${options.dumpDir}, prompts included`);
  const held = heldWords(protections);
  terminal.info(`protections: ${held.join(", ")}`, { event: "protections", held });
  for (const { gap } of protections) if (gap !== undefined) terminal.warning(gap.message, gap.hints);
  for (const { message, hints } of likelyMistakes(options, environment)) terminal.warning(message, hints);
}

/** What asked the program to end, and how many exchanges are in flight. */
export function reportEnding(cause: string, inFlight: number): void {
  const text = `${cause}: ending, ${inFlight} ${inFlight === 1 ? "exchange" : "exchanges"} in flight`;
  terminal.info(text, { event: "ending", cause, in_flight: inFlight });
}

const SANDBOX = ["landlock", "seccomp", "mdwe"];

/** In the order of the protections, with those of the sandbox as one. */
function heldWords(protections: readonly Protection[]): string[] {
  const words = (isSandbox: boolean): string[] =>
    protections.flatMap(({ id, held }) =>
      held !== undefined && SANDBOX.includes(id) === isSandbox ? [held] : [],
    );
  const sandbox = words(true);
  const [user, ...others] = words(false).toReversed();
  return [
    ...others.toReversed(),
    ...(sandbox.length > 0 ? [`sandbox ${sandbox.join("+")}`] : []),
    ...(user === undefined ? [] : [user]),
  ];
}
