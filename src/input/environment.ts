// Which environment variables the process that meets the key is born with. Pure.

import { resolve } from "../base/paths.ts";

export type Environment = Readonly<Record<string, string>>;

/** Kept from the caller: what locale, colour, TLS, proxies and the service manager need. Everything else stays behind, OPENAI_API_KEY first of all. */
const KEPT = [
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
];
const KEPT_PREFIX = "LC_";

/** Files among them, which must be found again from another working directory. */
const FILES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"];

/** Those of the kept that decide whom the upstream's connection is trusted to. */
const TRUST = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", ...FILES];

/** Set by us. Bun 1.4.5 reads these from the environment it was started with, and from nowhere else. */
const SETTINGS: Environment = {
  // Otherwise the 257th event stream waits for one of the first 256 to end.
  BUN_CONFIG_MAX_HTTP_REQUESTS: "65535",
  DO_NOT_TRACK: "1",
};

/** Says that this is the second start. It is believed only together with everything else (`unexpectedVariables`). */
const MARK = { RESPONSES_API_PROXY_STAGE: "reborn" } as const;

/** The environment for the second start. */
export function cleanEnvironment(caller: Environment): Environment {
  const kept = Object.entries(caller).filter(([name, value]) => isKept(name) && value !== "");
  const absolute = kept.map(([name, value]) => [name, FILES.includes(name) ? resolve(value) : value]);
  return { ...Object.fromEntries(absolute), ...SETTINGS, ...MARK };
}

/** Whether this environment claims to be the second start's. */
export function isMarked(environment: Environment): boolean {
  return environment["RESPONSES_API_PROXY_STAGE"] !== undefined;
}

/** The names in a marked environment that `cleanEnvironment` would not have left as they are; none is what one wants. */
export function unexpectedVariables(environment: Environment): string[] {
  const clean = cleanEnvironment(environment);
  const names = new Set([...Object.keys(environment), ...Object.keys(clean)]);
  return [...names].filter((name) => environment[name] !== clean[name]);
}

/** `NAME=value` for each variable that changes whom the upstream's connection is trusted to; credentials are left out. */
export function trustVariables(environment: Environment): string[] {
  return TRUST.flatMap((name) => {
    const value = environment[name];
    return value === undefined ? [] : [`${name}=${value.replace(/^(\w+:\/\/)?.*@/, "$1…@")}`];
  });
}

/** The names of proxy variables that other programs would use, where no other leads the requests through a proxy. */
export function ignoredProxies(environment: Environment): string[] {
  if (environment["https_proxy"] || environment["HTTPS_PROXY"]) return [];
  return ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"].filter((name) => environment[name]);
}

function isKept(name: string): boolean {
  return KEPT.includes(name) || name.startsWith(KEPT_PREFIX);
}

/** The name of a proxy variable whose value is no http or https URL, which Bun and the sandbox would read differently; or undefined. */
export function unclearProxy(environment: Environment): string | undefined {
  return ["HTTPS_PROXY", "https_proxy"].find((name) => {
    const value = environment[name];
    return value !== undefined && value !== "" && !(/^https?:\/\/[^/]/i.test(value) && URL.canParse(value));
  });
}
