// The one place the requests go to, and how they get there: one URL, one header value, one set of fetch options.

import type { Authorization } from "./key.ts";
import { isLoopback } from "./options.ts";

/** What every request to the upstream has in common; each line is a default of Bun 1.4.5 that would break a promise. */
const SETTINGS = {
  method: "POST",
  // The default follows Location, and takes the key there.
  redirect: "manual",
  // The default unpacks bodies and changes the header to match.
  decompress: false,
  // The default gives up after about 300 s of silence; a model may think longer.
  timeout: false,
  // BUN_CONFIG_VERBOSE_FETCH=curl otherwise prints the key.
  verbose: false,
} as const;

export class Upstream {
  readonly authorization: Authorization;
  readonly #url: string;
  readonly #settings: typeof SETTINGS & { proxy?: false };

  constructor(url: URL, authorization: Authorization) {
    this.authorization = authorization;
    this.#url = url.href;
    // A proxy from the environment has no business between us and our own machine.
    this.#settings = isLoopback(url) ? { ...SETTINGS, proxy: false } : SETTINGS;
  }

  /** Sends one request, once. Resolves with the head of the answer; rejects with whatever fetch rejects with. */
  send(headers: Headers, body: Uint8Array | ReadableStream | null, signal: AbortSignal): Promise<Response> {
    return fetch(this.#url, { ...this.#settings, headers, body, signal } as RequestInit);
  }
}
