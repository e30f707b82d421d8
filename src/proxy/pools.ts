// Which connections a request may take to the upstream. Bun 1.4.5 keeps 64 idle ones of a TLS configuration and makes the others anew, so each 64
// requests in flight get a configuration of their own: a pool. They differ in nothing that TLS notices.

import { type Environment, namesProxy } from "../input/environment.ts";
import { isLoopback } from "../input/upstream-url.ts";

/** How many idle connections Bun keeps in a pool. */
const POOL_SIZE = 64;
/** How many TLS configurations Bun keeps; then it drops the one that was used least recently, with its connections. */
export const MAX_POOLS = 60;

/** How many pools there may be. Bun keeps 64 plain connections in all, and 64 tunnels through HTTPS_PROXY: more pools would only divide them. */
export function poolsFor(upstreamUrl: URL, environment: Environment): number {
  const isTunnel = namesProxy(environment) && !isLoopback(upstreamUrl);
  return upstreamUrl.protocol === "https:" && !isTunnel ? MAX_POOLS : 1;
}

/**
 * SSL_CTX_set_options(3): these are for servers and for DTLS, so a TLS client does the same with any of them; BoringSSL gives most no meaning.
 * Nothing else may tell the pools apart: text of ciphers or authorities would decide what is accepted.
 */
const WITHOUT_EFFECT = [
  1 << 12, // SSL_OP_NO_QUERY_MTU
  1 << 13, // SSL_OP_COOKIE_EXCHANGE
  1 << 15, // SSL_OP_CISCO_ANYCONNECT
  1 << 16, // SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
  1 << 22, // SSL_OP_CIPHER_SERVER_PREFERENCE
  1 << 23, // SSL_OP_TLS_ROLLBACK_BUG
];

const sessions: Bun.FetchSession[] = [];

/** Returns what fetch takes a pool's connections from; for the first pool undefined, which is fetch's own. */
export function sessionOf(pool: number): Bun.FetchSession | undefined {
  if (pool === 0) return undefined;
  const secureOptions = WITHOUT_EFFECT.reduce((sum, option, bit) => sum | (((pool >> bit) & 1) * option), 0);
  return (sessions[pool] ??= new Bun.FetchSession({ tls: { secureOptions } }));
}

/** Gives back the descriptors of idle connections, but for those of the first pool: fetch's own cannot be closed. */
export function closeIdlePools(): void {
  sessions.forEach((session) => session.close());
}

/**
 * Chooses the lowest pool that has room. So a connection is opened only if those that are there are in use, and the higher pools' are left to be
 * closed once fewer requests come.
 *
 * Known are how many requests are in flight, and over which pool those go that have no answer yet. Which answers have ended is not: to watch them
 * would cost throughput. Each pool's are taken to end alike.
 */
export class PoolRule {
  readonly #limit: number;
  /** For each pool, the requests without an answer. */
  readonly #waiting: number[] = [];
  /** For each pool, the answers that have begun and not ended: an estimate, so no whole number. */
  readonly #answering: number[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Returns the pool for a request that is sent now, while `others` are in flight. */
  choose(others: number): number {
    this.#forgetEnded(others);
    let pool = 0;
    while (pool < this.#limit - 1 && this.#isFull(pool)) pool++;
    if (pool === this.#waiting.length) this.#open();
    this.#waiting[pool]!++;
    return pool;
  }

  /** The answer to a request over this pool has begun, or there will be none. */
  answered(pool: number): void {
    this.#waiting[pool]!--;
    this.#answering[pool]!++;
  }

  #forgetEnded(others: number): void {
    const before = sum(this.#answering);
    const now = Math.max(0, others - sum(this.#waiting));
    if (now >= before) return;
    for (let pool = 0; pool < this.#answering.length; pool++) this.#answering[pool]! *= now / before;
  }

  /** A pool that is not open yet is not full. */
  #isFull(pool: number): boolean {
    return pool < this.#waiting.length && this.#waiting[pool]! + this.#answering[pool]! > POOL_SIZE - 1;
  }

  #open(): void {
    this.#waiting.push(0);
    this.#answering.push(0);
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
