// Mutations of --github-oidc: what is sent to the hosts that tokens come from, what is accepted of them, and when.

import { type ByFile, listed } from "./mutation.ts";

const MUTATIONS: ByFile = {
  "src/input/oidc/options.ts": [
    {
      promise: "a token for OpenAI goes to no other upstream",
      from: 'if (!isDefault && given["oidc-token-url"] === undefined)',
      to: "if (false)",
      tests: ["oidc-flags"],
    },
    {
      promise: "the flags go together",
      from: "if (missing.length > 0)",
      to: "if (missing.length > 3)",
      tests: ["oidc-flags"],
    },
    {
      promise: "no flag of tokens is without effect",
      from: "if (given[name] !== undefined) throw usageError(`--${name} requires --github-oidc`);",
      to: "",
      tests: ["oidc-flags"],
    },
    {
      promise: "tokens come over TLS alone",
      from: "!/^https:\\/\\/[^\\s\\\\]+$/i.test(text)",
      to: "!/^https?:\\/\\/[^\\s\\\\]+$/i.test(text)",
      tests: ["oidc-flags"],
    },
    {
      promise: "no password is in a URL that all users can see",
      from: 'if (url.username !== "" || url.password !== "") throw',
      to: "if (false) throw",
      tests: ["oidc-flags"],
    },
  ],
  "src/key/oidc/members.ts": [
    {
      promise: "a name that stands there twice decides nothing",
      from: "if (end === start || members.has(key)) return undefined;",
      to: "if (end === start) return undefined;",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "an answer that is cut off is not taken for whole",
      from: "return afterBlanks(bytes, at + 1) === bytes.length ? members : undefined;",
      to: "return members;",
      tests: ["acceptance"],
    },
  ],
  "src/key/oidc/acceptance.ts": [
    {
      promise: "a token has the characters of tokens, so it makes one header value",
      from: "if (!isToken68(bytes.subarray(secret.start, secret.end)))",
      to: "if (false)",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "no other type of token is taken for an access token",
      from: 'if (text("issued_token_type") !== `"${ACCESS_TOKEN_TYPE}"`)',
      to: "if (false)",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "no token that is no bearer token is sent as one",
      from: 'if (text("token_type").toLowerCase() !== \'"bearer"\')',
      to: "if (false)",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "no token is long-lived",
      from: "if (expiresIn > MAX_LIFE_SECONDS)",
      to: "if (false)",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "the nearer of the two ends counts",
      from: "Math.min(askedAtMs",
      to: "Math.max(askedAtMs",
      tests: ["acceptance"],
    },
    {
      promise: "a token that has ended is none",
      from: "if (end > askedAtMs) return end;",
      to: "return end;",
      tests: ["acceptance", "first-token"],
    },
    {
      promise: "a refusal is not repeated, but for the codes of the RFCs",
      from: 'ERROR_CODES.find((known) => textAt(where, span) === `"${known}"`)',
      to: "textAt(where, span)",
      tests: ["acceptance", "first-token", "oidc-secrecy"],
    },
  ],
  "src/key/oidc/ask.ts": [
    {
      promise: "the hosts are asked with the settings of fetch: no redirect is followed",
      from: "...fetchSettings(new URL(url)),",
      to: "",
      tests: ["first-token"],
      only: "redirect|307",
    },
    {
      promise: "no answer is waited for without end",
      from: "AbortSignal.timeout(TIMEOUT_MS)",
      to: "AbortSignal.timeout(100 * TIMEOUT_MS)",
      tests: ["first-token"],
      only: "silent",
    },
    {
      promise: "no answer is read without end",
      from: "if (isTooLong) throw new Unacceptable",
      to: "if (false) throw new Unacceptable",
      tests: ["first-token"],
      only: "too much|does not end|cannot be used",
    },
    {
      promise: "an error's body gives no token",
      from: "if (!answer.ok) {",
      to: "if (false) {",
      tests: ["first-token"],
      only: "refuses|refused",
    },
    {
      promise: "an answer is wiped",
      from: "  } finally {\n    pages.wipe();\n  }",
      to: "  } finally {\n    void pages;\n  }",
      tests: ["oidc-memory"],
    },
    {
      promise: "the engine's buffer of an answer is wiped",
      from: "    chunk.fill(0);\n",
      to: "",
      tests: ["oidc-memory"],
      known: "fetch's own buffers have copies as well, more or fewer of them",
    },
    {
      promise: "the hosts keep no connection",
      from: "      keepalive: false,\n",
      to: "",
      tests: ["first-token"],
      only: "asks GitHub",
    },
  ],
  "src/key/oidc/exchange.ts": [
    {
      promise: "the request with the ID token is wiped",
      from: "      request.wipe();\n",
      to: "",
      tests: ["oidc-memory"],
    },
    {
      promise: "the audience is encoded",
      from: "encodeURIComponent(audience)",
      to: "audience",
      tests: ["first-token"],
      only: "asks GitHub|request URL",
    },
  ],
  "src/key/oidc/first-token.ts": [
    {
      promise: "a signal ends a start that waits for a token",
      from: "const ended = asked.then(({ cause }) => {",
      to: "const ended = new Promise<{ cause: string }>(() => {}).then(({ cause }) => {",
      tests: ["first-token"],
      only: "meanwhile",
    },
    {
      promise: "of an error that is no host's, only the name is told",
      from: "throw new UserError(`no access token: ${whyNot(error)}`",
      to: "throw new UserError(`no access token: ${String(error)}`",
      tests: ["first-token"],
      only: "refused",
    },
  ],
  "src/key/oidc/renewal.ts": [
    {
      promise: "one exchange at a time",
      from: "    if (this.#isRunning) return;\n",
      to: "",
      tests: ["renewal"],
      only: "no token is left",
    },
    {
      promise: "a token is renewed before it ends",
      from: "const RENEW_AFTER = 0.5;",
      to: "const RENEW_AFTER = 1.1;",
      tests: ["renewal"],
      only: "again and again",
    },
    {
      promise: "it is renewed though nobody asks",
      from: "this.#timer = setTimeout(() => this.#renew(), pause);",
      to: "this.#timer = setTimeout(() => {}, pause);",
      tests: ["renewal"],
      only: "nobody asking",
    },
    {
      promise: "it is renewed if the timer is late",
      from: "    if (now >= this.#dueAtMs) this.#renew();\n",
      to: "",
      tests: ["renewal"],
      known: "a timer is late only on a machine that has slept",
    },
    {
      promise: "a token that has ended is not sent",
      from: "if (now < this.#token.endsAtMs) return",
      to: "if (now > 0) return",
      tests: ["renewal"],
      only: "no token is left",
    },
    {
      promise: "a 401 makes a renewal",
      from: "    this.#refusedAtMs = performance.now();\n    this.#renew();\n",
      to: "",
      tests: ["renewal"],
      only: "401",
    },
    {
      promise: "not every 401 makes one",
      from: "if (isOld || performance.now() - this.#refusedAtMs < REFUSALS_APART_MS) return;",
      to: "",
      tests: ["renewal"],
      only: "401",
    },
    {
      promise: "attempts are apart",
      from: "const pause = Math.max(MIN_PAUSE_MS, pauseMs);",
      to: "const pause = 0 * pauseMs;",
      tests: ["renewal"],
      only: "after pauses",
    },
    {
      promise: "the token that is replaced is wiped",
      from: "    replaced.wipe();\n",
      to: "",
      tests: ["oidc-memory"],
    },
    {
      promise: "one warning, however many attempts fail",
      from: "if (this.#failures === 1)",
      to: "if (this.#failures > 0)",
      tests: ["renewal"],
      only: "after pauses",
    },
    {
      promise: "one warning, however many requests there is no token for",
      from: "    if (this.#hasToldThatNoneIsLeft) return;\n",
      to: "",
      tests: ["renewal"],
      only: "no token is left",
    },
    {
      promise: "a line says that it works again",
      from: "if (failures === 0) terminal.debug",
      to: "if (failures >= 0) terminal.debug",
      tests: ["renewal"],
      only: "after pauses",
    },
  ],
  "src/key/authorization.ts": [
    {
      promise: "a request token is looked for in COMMAND's environment",
      from: "this.exposeForUpstream().slice(PREFIX.length)",
      to: "this.#value.slice(PREFIX.length)",
      tests: ["oidc-run"],
    },
  ],
  "src/server/server.ts": [
    {
      promise: "what there is no token for is not counted as spent",
      from: "upstream.refuseWithoutToken() ?? budget.admit(inFlight)",
      to: "budget.admit(inFlight)",
      tests: ["renewal"],
      only: "no token is left",
    },
  ],
};

export default listed(MUTATIONS);
