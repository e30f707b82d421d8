// What is no obstacle to a start, and yet hardly what was meant: told when the proxy starts.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { O_NONBLOCK, O_RDONLY, whyNotOpened } from "../../native/files/files.ts";
import * as terminal from "../base/terminal.ts";
import { type Environment, ignoredProxies } from "./environment.ts";
import { isLoopback, type Options } from "./options.ts";

/** Before the second start: proxy variables that the upstream is not reached through. Names only, since a value may be a password. */
export function reportIgnoredProxies({ upstreamUrl }: Options, environment: Environment): void {
  const ignored = isLoopback(upstreamUrl) ? [] : ignoredProxies(environment);
  if (ignored.length === 0) return;
  const text = `not used: ${ignored.join(", ")}; of the proxy variables only HTTPS_PROXY and NO_PROXY are`;
  terminal.info(text, { event: "environment", ignored });
}

/** Once it listens. */
export function reportSlips({ upstreamUrl }: Options, environment: Environment): void {
  const meant = likelierUpstream(upstreamUrl);
  if (meant !== undefined) {
    terminal.warning(`the path of --upstream-url, ${upstreamUrl.pathname}, does not end in /responses`, [
      `every request goes to exactly that URL; was ${meant} meant?`,
    ]);
  }
  for (const name of ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]) {
    const path = environment[name];
    const cause = path === undefined ? undefined : whyUnreadable(path);
    if (cause !== undefined)
      terminal.warning(`${name}=${path} cannot be read (${cause}): no authority is taken from there`);
  }
}

/** The URL with the path that was probably meant, undefined where there is nothing to say. Without the query, which may be a secret. */
export function likelierUpstream({ origin, pathname }: URL): string | undefined {
  if (pathname.endsWith("/responses")) return undefined;
  const base = pathname
    .replace(/\/+$/, "")
    .replace(/\/(responses|chat\/completions|completions|models)$/, "");
  return `${origin}${base === "" ? "/v1" : base}/responses`;
}

/** The system's name for why a file or directory cannot be opened to be read, undefined where it can. */
function whyUnreadable(path: string): string | undefined {
  const errno = whyNotOpened(path, O_RDONLY | O_NONBLOCK);
  return errno === 0 ? undefined : new SystemCallError("open", errno).code;
}
