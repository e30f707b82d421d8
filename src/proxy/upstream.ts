// The one place that requests go to: one URL, one header value, one set of fetch options. Nothing else asks for that value, but for the exchange
// that tokens come from.

import type { Environment } from "../input/environment.ts";
import type { Options } from "../input/options.ts";
import { fetchSettings } from "../input/upstream-url.ts";
import type { Credential } from "../key/credential.ts";
import { UpstreamFault } from "./failures.ts";
import { toUpstream } from "./headers.ts";
import type { Refusal } from "./policy.ts";
import { PoolRule, poolsFor, sessionOf } from "./pools.ts";

export class Upstream {
  readonly #credential: Credential;
  readonly #url: string;
  readonly #settings: ReturnType<typeof fetchSettings>;
  readonly #pools: PoolRule;

  constructor(
    { upstreamUrl }: Pick<Options, "upstreamUrl">,
    environment: Environment,
    credential: Credential,
  ) {
    this.#credential = credential;
    this.#url = upstreamUrl.href;
    this.#settings = fetchSettings(upstreamUrl);
    this.#pools = new PoolRule(poolsFor(upstreamUrl, environment));
  }

  /**
   * Has the runtime start its HTTP thread, by a request that leads nowhere. Otherwise the first request starts it, and the program ends
   * without a word if no descriptor is left then (Bun 1.4.5).
   */
  static async startThread(): Promise<void> {
    await fetch("http://localhost/", { unix: "/dev/null/nowhere" }).catch(() => {});
  }

  /** What the proxy holds: a key or an access token. */
  get holds(): Credential["kind"] {
    return this.#credential.kind;
  }

  /** Why no request can be sent now; undefined if one can. It waits for no token. */
  refuseWithoutToken(): Refusal | undefined {
    if (this.#credential.present() !== undefined) return undefined;
    const seconds = this.#credential.retryAfterSeconds();
    return { ...NO_TOKEN, headers: { "retry-after": String(seconds) } };
  }

  /**
   * Sends a client's request, once, with the proxy's Authorization in place of the client's, while `others` are in flight. Resolves with the
   * head of the answer; rejects with what fetch rejects with.
   */
  async send(
    client: Headers,
    body: Uint8Array | ReadableStream | null,
    signal: AbortSignal,
    others: number,
  ): Promise<Response> {
    const authorization = this.#credential.present();
    // It can have ended since the request was let in, while the client sent the body.
    if (authorization === undefined) throw new UpstreamFault("NoToken");
    const headers = toUpstream(client);
    // Last, so that no Connection field can name it away.
    headers.set("authorization", authorization.exposeForUpstream());
    const pool = this.#pools.choose(others);
    const session = sessionOf(pool);
    const settings = { ...this.#settings, method: "POST", headers, body, signal, session };
    let answer: Response;
    try {
      answer = await fetch(this.#url, settings as RequestInit);
    } finally {
      this.#pools.answered(pool);
    }
    // Passed on all the same: nothing is ever sent twice.
    if (answer.status === 401) this.#credential.refused(authorization);
    return answer;
  }
}

const NO_TOKEN: Refusal = {
  status: 503,
  code: "no_token",
  message:
    "refused by responses-api-proxy: no access token is left, and none could be got yet; try again later",
};
