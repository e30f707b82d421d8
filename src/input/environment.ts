// Which environment variables the process that meets the key is born with. Pure.

import { UserError } from "../base/errors.ts";
import { resolve } from "../base/paths.ts";
import { PARENT, STARTER } from "./starter.ts";
import { withoutUserInfo } from "./upstream-url.ts";

export type Environment = Readonly<Record<string, string>>;

/** Kept from the caller: what locale, colour, TLS, proxies and the service manager need. Everything else is dropped, above all OPENAI_API_KEY. */
export const KEPT: readonly string[] = [
  "PATH",
  "HOME",
  "TZ",
  "LANG",
  "LANGUAGE",
  "NO_COLOR",
  "FORCE_COLOR",
  "TERM",
  "HTTPS_PROXY",
  "https_proxy",
  "NO_PROXY",
  "no_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NOTIFY_SOCKET",
  "JOURNAL_STREAM",
  STARTER,
  PARENT,
];
const KEPT_PREFIX = "LC_";

/** Those that name files: made absolute, because the second start has another working directory. */
const FILES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"];

/** Those that decide which host the upstream's connection trusts. */
const TRUST = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", ...FILES];

/** Set for the process that meets the key, by a first start or by `run` and --background. Bun 1.4.5 reads these from the environment it was started with, and from nowhere else. */
const SETTINGS: Environment = {
  // The default is 256: the next event stream would wait for one of those to end.
  BUN_CONFIG_MAX_HTTP_REQUESTS: "65535",
  DO_NOT_TRACK: "1",
  // Ten and fifty times the defaults: to compile what a start runs a few times delays it. Under load every function gets there.
  BUN_JSC_thresholdForJITAfterWarmUp: "5000",
  BUN_JSC_thresholdForJITSoon: "5000",
  // The engine starts a thread that prepares memory, at 1 MB of heap. At 8 MB it comes after the sandbox: until then the proxy of `run` has one thread
  // (lockdown/starts.ts).
  BUN_JSC_warmUpMarkedBlockStartAfterBlocks: "512",
};

/** How a process with a clean environment was started: `prepared` by `run` or --background, both starts still to come; `reexec` by a first start. */
export type Stage = "prepared" | "reexec";

/** Marks such a start. It is believed only if everything else fits (`unexpectedVariables`). */
const STAGE = "RESPONSES_API_PROXY_STAGE";

/** The environment for such a start. */
export function cleanEnvironment(caller: Environment, stage: Stage): Environment {
  const kept: Record<string, string> = {};
  for (const name in caller) {
    const value = caller[name]!;
    if (isKept(name) && value !== "") kept[name] = FILES.includes(name) ? resolve(value) : value;
  }
  return { ...kept, ...SETTINGS, [STAGE]: stage };
}

/** What this environment claims; undefined if it is a caller's. Any other value counts as `reexec`: `unexpectedVariables` then names the mark itself. */
export function claimedStage({ [STAGE]: claimed }: Environment): Stage | undefined {
  if (claimed === undefined) return undefined;
  return claimed === "prepared" ? "prepared" : "reexec";
}

/** The names in the environment of such a start that `cleanEnvironment` would have dropped or changed; empty if all is well. */
export function unexpectedVariables(environment: Environment, stage: Stage): string[] {
  const clean = cleanEnvironment(environment, stage);
  const names = new Set([...Object.keys(environment), ...Object.keys(clean)]);
  return [...names].filter((name) => environment[name] !== clean[name]);
}

/** `NAME=value`, without credentials, for each variable that changes which host the upstream's connection trusts. */
export function trustVariables(environment: Environment): string[] {
  return TRUST.flatMap((name) => {
    const value = environment[name];
    return value === undefined ? [] : [`${name}=${withoutUserInfo(value)}`];
  });
}

/** Whether requests to hosts other than this machine may go through a proxy. */
export function namesProxy(environment: Environment): boolean {
  return Boolean(environment["https_proxy"] || environment["HTTPS_PROXY"]);
}

/** The names of proxy variables that other programs use and this one does not; empty if HTTPS_PROXY is set. */
export function unusedProxyVariables(environment: Environment): string[] {
  if (namesProxy(environment)) return [];
  return ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"].filter((name) => environment[name]);
}

function isKept(name: string): boolean {
  return KEPT.includes(name) || name.startsWith(KEPT_PREFIX);
}

/** Bun and the sandbox would read a proxy variable differently if its value is no http or https URL. Throws UserError. */
export function refuseUnclearProxyVariable(environment: Environment): void {
  const unclear = ["HTTPS_PROXY", "https_proxy"].find((name) => {
    const value = environment[name];
    return value !== undefined && value !== "" && !(/^https?:\/\/[^/]/i.test(value) && URL.canParse(value));
  });
  if (unclear === undefined) return;
  throw new UserError(`${unclear} must be a URL such as http://proxy.example:3128`, undefined, [
    `correct it, or start with env -u ${unclear}`,
  ]);
}
