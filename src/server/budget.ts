// How much may be spent: --max-requests, --max-concurrent and --rate.

import type { Options } from "../input/options.ts";
import type { Refusal } from "../proxy/policy.ts";

export class Budget {
  readonly #limits: Pick<Options, "maxRequests" | "maxConcurrent" | "rate">;
  #spent = 0;
  /** Requests that may come at once, refilled at the rate (token bucket). */
  #tokens: number;
  #filledAt = performance.now();

  constructor(limits: Pick<Options, "maxRequests" | "maxConcurrent" | "rate">) {
    this.#limits = limits;
    this.#tokens = limits.rate?.count ?? Infinity;
  }

  /** Counts a request that may pass; or returns why it may not. `inFlight` counts the requests in flight, this one included. */
  admit(inFlight: () => number): Refusal | undefined {
    const { maxRequests = Infinity, maxConcurrent } = this.#limits;
    if (this.#spent >= maxRequests) return SPENT;
    if (maxConcurrent !== undefined && inFlight() > maxConcurrent) return BUSY;
    const waitMs = this.#takeToken();
    if (waitMs > 0) return { ...TOO_FAST, headers: { "retry-after": String(Math.ceil(waitMs / 1000)) } };
    this.#spent++;
    return undefined;
  }

  /** 0, or how long until there is a token. */
  #takeToken(): number {
    const { rate } = this.#limits;
    if (rate === undefined) return 0;
    const now = performance.now();
    const perMs = rate.count / rate.perMs;
    this.#tokens = Math.min(rate.count, this.#tokens + (now - this.#filledAt) * perMs);
    this.#filledAt = now;
    if (this.#tokens < 1) return (1 - this.#tokens) / perMs;
    this.#tokens--;
    return 0;
  }
}

/** 403, because OpenAI's SDKs do not try it again. */
const SPENT: Refusal = {
  code: "budget_spent",
  message: "refused by responses-api-proxy: all requests of --max-requests are spent",
};

const BUSY: Refusal = {
  status: 503,
  code: "busy",
  message: "refused by responses-api-proxy: --max-concurrent requests are in flight; try again later",
  headers: { "retry-after": "1" },
};

const TOO_FAST: Refusal = {
  status: 429,
  code: "rate_limited",
  message: "refused by responses-api-proxy: more requests than --rate allows; try again later",
};
