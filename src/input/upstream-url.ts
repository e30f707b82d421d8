// --upstream-url: which URLs are accepted, and what follows from one. Pure.

import { quote, usageError } from "./arguments.ts";

export const DEFAULT_UPSTREAM_URL = "https://api.openai.com/v1/responses";

/** User info is refused because every user can see arguments (ps(1)); so its message quotes nothing. Throws UserError. */
export function parseUpstreamUrl(text: string, insecureUpstream: boolean): URL {
  const url = URL.parse(text);
  // The URL parser forgives blanks and a missing "//"; a person who typed those may have meant something else.
  if (url === null || !/^https?:\/\/[^\s\\]+$/i.test(text)) {
    const hints = [`the default is ${DEFAULT_UPSTREAM_URL}`];
    if (/^[\w.-]+(:\d+)?(\/|$)/.test(text)) hints.unshift(`try --upstream-url=https://${text}`);
    throw usageError(
      `--upstream-url must be an absolute https URL, got ${quote(withoutUserInfo(text))}`,
      hints,
    );
  }
  if (url.username !== "" || url.password !== "") {
    throw usageError("--upstream-url must not contain user info", ["the key is read from standard input"]);
  }
  if (url.port === "0") throw usageError(`--upstream-url must not have port 0, got ${quote(text)}`);
  if (text.includes("#")) throw usageError(`--upstream-url must not contain a fragment, got ${quote(text)}`);
  if (url.protocol === "http:" && !isLoopback(url) && !insecureUpstream) {
    throw usageError(`--upstream-url must be https, got ${quote(text)}`, [
      "plain http to a host that is not loopback shows the key to the network; --insecure-upstream allows it",
    ]);
  }
  return url;
}

/** The port of a URL, its scheme's if it names none. */
export function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "https:" ? 443 : 80;
}

/** Whether a URL's host can only be this machine. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** The URL for a person to see: without the query, which may be a secret as well as an API version. */
export function addressOf({ origin, pathname }: URL): string {
  return origin + pathname;
}

/** The URL that was probably meant, without the query; undefined if this one looks right. */
export function likelierUpstream({ origin, pathname }: URL): string | undefined {
  if (pathname.endsWith("/responses")) return undefined;
  const base = pathname
    .replace(/\/+$/, "")
    .replace(/\/(responses|chat\/completions|completions|models)$/, "");
  return `${origin}${base === "" ? "/v1" : base}/responses`;
}

/** The text of a URL without the user info, which may be a password. */
export function withoutUserInfo(text: string): string {
  return text.replace(/^(\w+:\/\/)?.*@/, "$1…@");
}

/**
 * How the upstream is asked, by the proxy and by `doctor` alike: each line replaces a default of Bun 1.4.5 that would break a promise
 * (docs/bun.md).
 */
export function fetchSettings(upstreamUrl: URL) {
  return {
    // The default follows Location, and takes the key there.
    redirect: "manual",
    // The default unpacks bodies and changes the header to match.
    decompress: false,
    // The default gives up after about 300 s of silence; a model may think longer.
    timeout: false,
    // Over HTTP/2 a stream that the upstream refuses is sent again (REFUSED_STREAM, RFC 9113 §8.7).
    protocol: "http1.1",
    // BUN_CONFIG_VERBOSE_FETCH=curl otherwise prints the key.
    verbose: false,
    // The environment's HTTPS proxy is not for this machine's own addresses.
    ...(isLoopback(upstreamUrl) ? { proxy: false } : {}),
  } as const;
}
