// The one place that requests go to, and the only holder of the key: one URL, one header value, one set of fetch options.

import type { Options } from "../input/options.ts";
import { fetchSettings } from "../input/upstream-url.ts";
import type { Authorization } from "../key/key.ts";
import { toUpstream } from "./headers.ts";

export class Upstream {
  readonly #authorization: Authorization;
  readonly #url: string;
  readonly #settings: ReturnType<typeof fetchSettings>;

  constructor({ upstreamUrl }: Pick<Options, "upstreamUrl">, authorization: Authorization) {
    this.#authorization = authorization;
    this.#url = upstreamUrl.href;
    this.#settings = fetchSettings(upstreamUrl);
  }

  /**
   * Has the runtime start its HTTP thread, by a request that leads nowhere. Otherwise the first request starts it, and the program ends
   * without a word if no descriptor is left then (Bun 1.4.5).
   */
  static async startThread(): Promise<void> {
    await fetch("http://localhost/", { unix: "/dev/null/nowhere" }).catch(() => {});
  }

  /**
   * Sends a client's request, once, with the proxy's Authorization in place of the client's. Resolves with the head of the answer; rejects
   * with what fetch rejects with.
   */
  send(client: Headers, body: Uint8Array | ReadableStream | null, signal: AbortSignal): Promise<Response> {
    const headers = toUpstream(client);
    // Last, so that no Connection field can name it away.
    headers.set("authorization", this.#authorization.exposeForUpstream());
    return fetch(this.#url, { ...this.#settings, method: "POST", headers, body, signal } as RequestInit);
  }
}
