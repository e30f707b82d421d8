// One exchange: GitHub's request token for an ID token, a JWT, and that for an access token of OpenAI's (RFC 8693).
//
// TAKE CARE WHEN CHANGING THIS FILE. What must stay true, as for a key (src/key/key.ts):
// - The ID token never becomes a string. The access token is held in pages, and becomes one for each request that it goes with.
// - What they were read into and sent from is wiped on every path, errors included. The access token's pages are wiped when it is replaced.
// - No message, no error and no value that can be printed contains a byte of a token or of an answer.
//
// NOT protected by this file: the buffers of fetch and TLS, which have copies for a while, and the strings of requests, which the engine frees when
// it does. They lie in locked memory (lockdown/starts.ts).

import { SecretPages } from "../../../native/process/memory.ts";
import type { GitHubOidc } from "../../input/oidc/options.ts";
import { Authorization, PREFIX } from "../authorization.ts";
import { endOf, secretIn } from "./acceptance.ts";
import { ask, type Question } from "./ask.ts";
import { membersOf } from "./members.ts";

/** An access token, and until when it may be used, in milliseconds since the epoch. */
export type Token = Readonly<{ authorization: Authorization; endsAtMs: number }>;

const EMPTY_TOKEN = '"subject_token":""';

/** Room for the longest ID token between the longest names (input/oidc/options.ts), each character of which may take six bytes in JSON. */
const REQUEST_BYTES = 32 * 1024;

export class Exchange {
  readonly #oidc: GitHubOidc;
  readonly #requestToken: Authorization;

  constructor(oidc: GitHubOidc, requestToken: Authorization) {
    this.#oidc = oidc;
    this.#requestToken = requestToken;
  }

  /** Resolves with a new access token. Rejects with NoToken, or with what the kernel refuses (SystemCallError). */
  async run(): Promise<Token> {
    const request = new SecretPages(REQUEST_BYTES);
    let answered: Promise<Token>;
    try {
      const body = await ask(this.#questionForIdToken(), (bytes) => {
        const idToken = secretIn(bytes, membersOf(bytes), "value");
        return this.#writeRequest(request.bytes, bytes.subarray(idToken.start, idToken.end));
      });
      const askedAtMs = Date.now();
      answered = ask(this.#questionForAccessToken(body), (bytes) => takeAccessToken(bytes, askedAtMs));
    } finally {
      // Nobody needs it any more: its body is copied at the call.
      request.wipe();
    }
    return await answered;
  }

  #questionForIdToken(): Question {
    const { requestUrl, audience } = this.#oidc;
    const url = new URL(requestUrl);
    if (url.searchParams.has("audience")) url.searchParams.delete("audience");
    const separator = url.search === "" ? "?" : "&";
    return {
      wanted: "ID token",
      host: `GitHub's ID token host (${url.host})`,
      url: `${url.href.replace(/\?$/, "")}${separator}audience=${encodeURIComponent(audience)}`,
      method: "GET",
      headers: { authorization: this.#requestToken.exposeForUpstream() },
    };
  }

  #questionForAccessToken(body: Uint8Array): Question {
    const { tokenUrl } = this.#oidc;
    return {
      wanted: "access token",
      host: `the token exchange (${tokenUrl.host})`,
      url: tokenUrl.href,
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    };
  }

  /** Writes the request with the ID token in it, and returns it. What a token consists of needs no escapes. */
  #writeRequest(space: Uint8Array, idToken: Uint8Array): Uint8Array {
    const { identityProviderId, serviceAccountId } = this.#oidc;
    const json = JSON.stringify({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      subject_token: "",
      identity_provider_id: identityProviderId,
      service_account_id: serviceAccountId,
    });
    const at = json.indexOf(EMPTY_TOKEN) + EMPTY_TOKEN.length - 1;
    const parts = [Buffer.from(json.slice(0, at)), idToken, Buffer.from(json.slice(at))];
    let length = 0;
    for (const part of parts) {
      space.set(part, length);
      length += part.length;
    }
    return space.subarray(0, length);
  }
}

/** Throws Unacceptable. */
function takeAccessToken(bytes: Uint8Array, askedAtMs: number): Token {
  const members = membersOf(bytes);
  const token = secretIn(bytes, members, "access_token");
  const endsAtMs = endOf(bytes, members!, askedAtMs);
  return { authorization: headerValue(bytes.subarray(token.start, token.end)), endsAtMs };
}

function headerValue(token: Uint8Array): Authorization {
  const length = PREFIX.length + token.length;
  const pages = new SecretPages(length);
  pages.bytes.set(Buffer.from(PREFIX));
  pages.bytes.set(token, PREFIX.length);
  return new Authorization(pages, length);
}
