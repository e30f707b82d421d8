// When a token is renewed. Requests never wait for that: there is a token, or there is none.
//
// - A new one is got when half of a token's life is over, or up to a twentieth earlier: for an hour's token, half an hour is left for other attempts.
// - One exchange at a time, whoever asks for it.
// - If it fails, the token serves on. Further attempts come after longer and longer pauses, of at most 10 s and a quarter of the life that is left.
// - A 401 of the upstream's makes one exchange at once, but not two in half a minute: an upstream that refuses every token would be asked for
//   one after the other.
// - A warning when it begins to fail, another when no token is left, and one line when it works again.

import * as terminal from "../../base/terminal.ts";
import type { Authorization } from "../authorization.ts";
import type { Credential } from "../credential.ts";
import type { Exchange, Token } from "./exchange.ts";
import { hintsFor, inWords, whyNot } from "./words.ts";

const RENEW_AFTER = 0.5;
const RENEW_EARLIER = 0.05;
const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 10_000;
/** Whatever a host says, there is no second attempt before. */
const MIN_PAUSE_MS = 250;
const REFUSALS_APART_MS = 30_000;

export class Renewal implements Credential {
  readonly kind = "access token";
  readonly #exchange: Pick<Exchange, "run">;
  #token: Token;
  /** When the next exchange is due, by the clock that tokens end by; the timer may be late, if the machine has slept. */
  #dueAtMs = 0;
  #timer: Timer | undefined;
  #isRunning = false;
  /** Exchanges that have failed in a row. */
  #failures = 0;
  #hasToldThatNoneIsLeft = false;
  #refusedAtMs = -Infinity;

  constructor(exchange: Pick<Exchange, "run">, first: Token) {
    this.#exchange = exchange;
    this.#token = first;
    this.#plan(this.#pauseBeforeRenewal());
  }

  present(): Authorization | undefined {
    const now = Date.now();
    if (now >= this.#dueAtMs) this.#renew();
    if (now < this.#token.endsAtMs) return this.#token.authorization;
    this.#tellThatNoneIsLeft();
    return undefined;
  }

  refused(authorization: Authorization): void {
    const isOld = authorization !== this.#token.authorization;
    if (isOld || performance.now() - this.#refusedAtMs < REFUSALS_APART_MS) return;
    this.#refusedAtMs = performance.now();
    this.#renew();
  }

  retryAfterSeconds(): number {
    return Math.max(1, Math.ceil((this.#dueAtMs - Date.now()) / 1000));
  }

  /** Once connections are accepted. */
  reportStart(): void {
    terminal.info(
      `authorization from GitHub OIDC, the access token expires in ${this.#life}`,
      this.#fields(),
    );
  }

  /** How long the present token may be used, in words. */
  get #life(): string {
    return inWords(this.#lifeMs());
  }

  #fields(): terminal.Fields {
    return { event: "token", expires_in_s: Math.round(this.#lifeMs() / 1000) };
  }

  #lifeMs(): number {
    return Math.max(0, this.#token.endsAtMs - Date.now());
  }

  #plan(pauseMs: number): void {
    const pause = Math.max(MIN_PAUSE_MS, pauseMs);
    this.#dueAtMs = Date.now() + pause;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renew(), pause);
    this.#timer.unref();
  }

  #pauseBeforeRenewal(): number {
    return this.#lifeMs() * (RENEW_AFTER - RENEW_EARLIER * Math.random());
  }

  /** Doubles with each failure; up to a quarter shorter, so that many proxies do not ask in step. */
  #pauseBeforeRetry(): number {
    const longest = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
    const pause = this.#lifeMs() === 0 ? longest : Math.min(longest, this.#lifeMs() / 4);
    return pause * (1 - Math.random() / 4);
  }

  #renew(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    clearTimeout(this.#timer);
    this.#exchange
      .run()
      .then(
        (token) => this.#take(token),
        (error: unknown) => this.#fail(error),
      )
      .finally(() => {
        this.#isRunning = false;
      });
  }

  #take(token: Token): void {
    const failures = this.#failures;
    const { authorization: replaced } = this.#token;
    this.#token = token;
    replaced.wipe();
    this.#failures = 0;
    this.#hasToldThatNoneIsLeft = false;
    this.#plan(this.#pauseBeforeRenewal());
    const attempts = failures === 1 ? "a failed attempt" : `${failures} failed attempts`;
    if (failures === 0) terminal.debug(`a new access token, expires in ${this.#life}`, this.#fields());
    else terminal.info(`a new access token after ${attempts}, expires in ${this.#life}`, this.#fields());
  }

  #fail(error: unknown): void {
    this.#failures++;
    this.#plan(this.#pauseBeforeRetry());
    const isOver = this.#lifeMs() === 0;
    const rest = isOver ? "" : `; the present one serves for another ${this.#life}`;
    if (this.#failures === 1)
      terminal.warning(`the access token cannot be renewed: ${whyNot(error)}${rest}`, hintsFor(error));
    if (isOver) this.#tellThatNoneIsLeft();
  }

  #tellThatNoneIsLeft(): void {
    if (this.#hasToldThatNoneIsLeft) return;
    this.#hasToldThatNoneIsLeft = true;
    terminal.warning("no access token is left: requests get 503 (no_token) until it can be renewed");
  }
}
