// Options and variables that keep nothing from starting, and that the user has hardly meant.

import { SystemCallError } from "../../../native/ffi/libc.ts";
import { O_NONBLOCK, O_RDONLY, openErrno } from "../../../native/files/files.ts";
import * as terminal from "../../base/terminal.ts";
import { type Environment, unusedProxyVariables } from "../environment.ts";
import { destinations } from "../oidc/options.ts";
import type { Options } from "../options.ts";
import { isLoopback, likelierUpstream } from "../upstream-url.ts";

/** Tells which proxy variables are not used. Names only, because a value may be a password. */
export function reportUnusedProxyVariables(options: Options, environment: Environment): void {
  const ignored = destinations(options).every(isLoopback) ? [] : unusedProxyVariables(environment);
  if (ignored.length === 0) return;
  const text = `not used: ${ignored.join(", ")}; of the proxy variables only HTTPS_PROXY and NO_PROXY are`;
  terminal.info(text, { event: "environment", ignored });
}

/** Likely mistakes, for a person: what is odd, and what to do. */
export function likelyMistakes(
  { upstreamUrl }: Options,
  environment: Environment,
): { message: string; hints: string[] }[] {
  const meant = likelierUpstream(upstreamUrl);
  const path = {
    message: `the path of --upstream-url, ${upstreamUrl.pathname}, does not end in /responses`,
    hints: [`every request goes to exactly that URL; was ${meant} meant?`],
  };
  const authorities = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"].flatMap((name) => {
    const file = environment[name];
    const cause = file === undefined ? undefined : whyUnreadable(file);
    return cause === undefined
      ? []
      : [
          {
            message: `${name}=${file} cannot be read (${cause}): no authority is taken from there`,
            hints: [],
          },
        ];
  });
  return [...(meant === undefined ? [] : [path]), ...authorities];
}

/** The system's name for why a file or directory cannot be opened for reading; undefined if it can. */
function whyUnreadable(path: string): string | undefined {
  const errno = openErrno(path, O_RDONLY | O_NONBLOCK);
  return errno === 0 ? undefined : new SystemCallError("open", errno).code;
}
