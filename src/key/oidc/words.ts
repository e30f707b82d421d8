// What a person is told of tokens: why there is none, what to do about it, and how long one lasts. Pure.

import { SystemCallError } from "../../../native/ffi/libc.ts";
import { causeOf, ID_TOKEN_PERMISSION } from "../../base/errors.ts";
import { NoToken } from "./ask.ts";

/** Why an exchange failed. Only its own errors and the kernel's have messages that repeat nothing. */
export function whyNot(error: unknown): string {
  return error instanceof NoToken || error instanceof SystemCallError ? error.message : causeOf(error);
}

export function hintsFor(error: unknown): string[] {
  if (!(error instanceof NoToken && error.isRefusal)) return [];
  return error.wanted === "ID token"
    ? ["the request token is accepted for as long as the job runs", ID_TOKEN_PERMISSION]
    : [
        "--oidc-audience, --identity-provider-id and --service-account-id must be the provider's, and the provider must map this workflow to the account",
      ];
}

/** Rounded: 45 s, 14 min. */
export function inWords(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
