// The one place the requests go to, and how they get there: one URL, one header value, one set of fetch options.

import type { Authorization } from "./key.ts";
import { isLoopback, type Options } from "./options.ts";

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
  /** Whether answers may come over HTTP/2, which frames every body. */
  readonly isHttp2: boolean;
  readonly #url: string;
  readonly #settings: typeof SETTINGS & { proxy?: false; protocol?: "http1.1" };

  constructor({ upstreamUrl, http2 }: Pick<Options, "upstreamUrl" | "http2">, authorization: Authorization) {
    this.authorization = authorization;
    this.isHttp2 = http2;
    this.#url = upstreamUrl.href;
    this.#settings = {
      ...SETTINGS,
      // A proxy from the environment has no business between us and our own machine.
      ...(isLoopback(upstreamUrl) ? { proxy: false } : {}),
      ...(upstreamUrl.protocol === "https:" && !http2 ? HTTP1 : {}),
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

/**
 * HTTP/2 is off by default because of one promise: a request that the upstream refuses with REFUSED_STREAM is sent again by
 * Bun 1.4.5, five times, and there is no way to ask it not to (RFC 9113 §8.7 allows it: such a stream was not processed).
 * In all else it did as well as HTTP/1.1 or better: 1,000 streams at once on 4 connections against 1,000; a client's leaving
 * closes the stream in 2 ms; RST_STREAM, GOAWAY and a lost connection break the client's off; a reader or an upstream that
 * does not read holds the other side back.
 */
const HTTP1 = { protocol: "http1.1" } as const;
