// What of the two hosts' answers is accepted. Pure. The same rules as those of `codex responses-api-proxy` 0.169.0, as far as they show from
// outside; where a rule refuses, it is named, and nothing of the answer is repeated.

import { isToken68 } from "../key.ts";
import { insideQuotes, membersOf, type Span, textAt } from "./members.ts";

const ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token";

/** A token that lives longer than this is not short-lived. */
const MAX_LIFE_SECONDS = 3600;

/** The rule that an answer breaks. */
export class Unacceptable extends Error {}

/** Where the secret is that the member holds. Throws Unacceptable. */
export function secretIn(
  bytes: Uint8Array,
  members: ReadonlyMap<string, Span> | undefined,
  name: string,
): Span {
  const member = members?.get(name);
  const secret = member === undefined ? undefined : insideQuotes(bytes, member);
  if (secret === undefined) throw new Unacceptable(`its answer is no JSON object with one "${name}" in it`);
  // So it has no escapes either, and is one header value.
  if (!isToken68(bytes.subarray(secret.start, secret.end)))
    throw new Unacceptable(`its "${name}" is no bearer token (RFC 6750 b64token)`);
  return secret;
}

/**
 * Until when the token may be used, in milliseconds since the epoch: the nearer of its two ends, `expires_in` counted from when it was asked for.
 * Throws Unacceptable.
 */
export function endOf(bytes: Uint8Array, members: ReadonlyMap<string, Span>, askedAtMs: number): number {
  const text = (name: string): string => {
    const member = members.get(name);
    return member === undefined ? "" : textAt(bytes, member);
  };
  if (text("issued_token_type") !== `"${ACCESS_TOKEN_TYPE}"`)
    throw new Unacceptable("its token is of another type than access_token");
  // RFC 6749 §5.1: case insensitive.
  if (text("token_type").toLowerCase() !== '"bearer"')
    throw new Unacceptable("its token is of another type than Bearer");
  const [expiresIn, expiresAt] = [text("expires_in"), text("expires_at")].map(wholeNumber);
  if (expiresIn === undefined || expiresAt === undefined)
    throw new Unacceptable('its token has no "expires_in" and "expires_at" in whole seconds');
  if (expiresIn > MAX_LIFE_SECONDS)
    throw new Unacceptable(`its token would live longer than ${MAX_LIFE_SECONDS} s`);
  const end = Math.min(askedAtMs + 1000 * expiresIn, 1000 * expiresAt);
  if (end > askedAtMs) return end;
  throw new Unacceptable("its token has ended already (is this machine's clock right?)");
}

const wholeNumber = (text: string): number | undefined =>
  /^\d{1,15}$/.test(text) ? Number(text) : undefined;

/** The codes of RFC 6749 §5.2 and RFC 8693 §2.2.2. Others are not repeated: an answer may quote what it was sent. */
const ERROR_CODES = [
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "unauthorized_client",
  "unsupported_grant_type",
  "invalid_scope",
  "invalid_target",
  "access_denied",
  "temporarily_unavailable",
  "server_error",
];

/** The known code in a refusal, as `error` or as the `code` in it; undefined if there is none. */
export function errorCodeIn(bytes: Uint8Array): string | undefined {
  const error = membersOf(bytes)?.get("error");
  if (error === undefined) return undefined;
  const inner = bytes.subarray(error.start, error.end);
  const nested = membersOf(inner)?.get("code");
  const [where, span] = nested === undefined ? [bytes, error] : [inner, nested];
  return ERROR_CODES.find((known) => textAt(where, span) === `"${known}"`);
}
