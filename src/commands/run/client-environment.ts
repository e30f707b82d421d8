// The environment of COMMAND: the caller's, without the key, and with what programs need to find the proxy. Pure.

import type { Ready } from "../../input/starter.ts";
import { PARENT, STARTER } from "../../input/starter.ts";
import { DEFAULT_PATH } from "./command.ts";

/** Environment variables that are known to hold a key. */
const KEY_VARIABLES = ["OPENAI_API_KEY", "CODEX_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY"];

const LOCAL = ["127.0.0.1", "localhost"];
const NO_PROXY = ["NO_PROXY", "no_proxy"];

/** The URL that OpenAI's SDKs take. */
export const baseUrlOf = (port: number): string => `http://127.0.0.1:${port}/v1`;

/** What is set, without the token. */
export function settings(port: number): Record<string, string> {
  return {
    RESPONSES_API_PROXY_URL: `http://127.0.0.1:${port}`,
    OPENAI_BASE_URL: baseUrlOf(port),
    // The name that older SDKs take.
    OPENAI_API_BASE: baseUrlOf(port),
    // The traces would go to another host, with the token as their key.
    OPENAI_AGENTS_DISABLE_TRACING: "1",
  };
}

/** `NAME=value` each, of the caller's variables. `path` goes first in PATH, if there is one. */
export function clientEnvironment(
  caller: readonly string[],
  { withKey }: Pick<Ready, "withKey">,
  { port, token, path }: { port: number; token: string; path: string | undefined },
): string[] {
  const values = { ...settings(port), OPENAI_API_KEY: token, RESPONSES_API_PROXY_TOKEN: token };
  const dropped = new Set([...KEY_VARIABLES, ...Object.keys(values), STARTER, PARENT]);
  const places = new Set(withKey);
  const kept = caller.filter((variable, place) => !places.has(place) && !dropped.has(nameOf(variable)));
  return [
    ...kept.filter((variable) => ![...NO_PROXY, "PATH"].includes(nameOf(variable))),
    ...Object.entries(values).map(([name, value]) => `${name}=${value}`),
    ...NO_PROXY.map((name) => `${name}=${withLocal(valueOf(kept, name) ?? otherValue(kept, name))}`),
    ...pathOf(kept, path),
  ];
}

/** The value of a variable; undefined if there is none. */
export function valueOf(variables: readonly string[], name: string): string | undefined {
  return variables.find((variable) => variable.startsWith(`${name}=`))?.slice(name.length + 1);
}

function nameOf(variable: string): string {
  const equals = variable.indexOf("=");
  return equals === -1 ? variable : variable.slice(0, equals);
}

/** Programs read one of the two names: what was set under one holds under both. */
function otherValue(variables: readonly string[], name: string): string | undefined {
  return valueOf(
    variables,
    NO_PROXY.find((other) => other !== name)!,
  );
}

function withLocal(hosts: string | undefined): string {
  const given = (hosts ?? "").split(",").map((host) => host.trim());
  const named = given.filter((host) => host !== "");
  return named.includes("*") ? "*" : [...named, ...LOCAL.filter((host) => !named.includes(host))].join(",");
}

function pathOf(variables: readonly string[], first: string | undefined): string[] {
  const path = valueOf(variables, "PATH");
  if (first === undefined) return path === undefined ? [] : [`PATH=${path}`];
  // Where there is no PATH, programs look in a default one: the shim must not be all that they find.
  return [`PATH=${first}:${path ?? DEFAULT_PATH}`];
}
