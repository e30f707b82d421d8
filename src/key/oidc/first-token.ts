// The first access token: without one the proxy does not listen. Loaded only with --github-oidc.

import { UserError } from "../../base/errors.ts";
import type { GitHubOidc } from "../../input/oidc/options.ts";
import type { Authorization } from "../authorization.ts";
import { Exchange } from "./exchange.ts";
import { Renewal } from "./renewal.ts";
import { hintsFor, whyNot } from "./words.ts";

/** Resolves with a token that renews itself. Rejects with UserError if the one attempt fails; `asked` resolves if the program is to end. */
export async function firstToken(
  oidc: GitHubOidc,
  requestToken: Authorization,
  asked: Promise<{ cause: string }>,
): Promise<Renewal> {
  const exchange = new Exchange(oidc, requestToken);
  const ended = asked.then(({ cause }) => {
    throw new UserError(`${cause} came before the access token`);
  });
  try {
    return new Renewal(exchange, await Promise.race([exchange.run(), ended]));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`no access token: ${whyNot(error)}`, undefined, [
      ...hintsFor(error),
      "responses-api-proxy doctor with the same options asks both hosts, without a token",
    ]);
  }
}
