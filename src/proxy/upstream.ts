// The one place the requests go to, and how they get there: one URL, one header value, one set of fetch options.

import { isLoopback, type Options } from "../input/options.ts";
import type { Authorization } from "../key/key.ts";

/** What every request to the upstream has in common; each line is a default of Bun 1.4.5 that would break a promise. */
const SETTINGS = {
  method: "POST",
  // The default follows Location, and takes the key there.
  redirect: "manual",
  // The default unpacks bodies and changes the header to match.
  decompress: false,
  // The default gives up after about 300 s of silence; a model may think longer.
  timeout: false,
  // Over HTTP/2 a stream that the upstream refuses is sent again, five times, and cannot be asked not to be (REFUSED_STREAM, RFC 9113 §8.7).
  protocol: "http1.1",
  // BUN_CONFIG_VERBOSE_FETCH=curl otherwise prints the key.
  verbose: false,
} as const;

export class Upstream {
  readonly authorization: Authorization;
  readonly #url: string;
  readonly #settings: typeof SETTINGS & { proxy?: false };

  constructor({ upstreamUrl }: Pick<Options, "upstreamUrl">, authorization: Authorization) {
    this.authorization = authorization;
    this.#url = upstreamUrl.href;
    this.#settings = {
      ...SETTINGS,
      // A proxy from the environment has no business between us and our own machine.
      ...(isLoopback(upstreamUrl) ? { proxy: false } : {}),
    };
  }

  /**
   * Has the runtime start its HTTP thread, by a request that leads nowhere. Otherwise the first request does, and the program ends if no
   * descriptor is left then (Bun 1.4.5: exit code 1, without a word).
   */
  static async startThread(): Promise<void> {
    await fetch("http://localhost/", { unix: "/dev/null/nowhere" }).catch(() => {});
  }

  /** Sends one request, once. Resolves with the head of the answer; rejects with whatever fetch rejects with. */
  send(headers: Headers, body: Uint8Array | ReadableStream | null, signal: AbortSignal): Promise<Response> {
    return fetch(this.#url, { ...this.#settings, headers, body, signal } as RequestInit);
  }
}
