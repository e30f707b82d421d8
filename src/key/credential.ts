// What a request to the upstream is authorized with: a key, which stays, or access tokens, each of which ends (oidc/renewal.ts).

import type { Authorization } from "./authorization.ts";

export type Credential = {
  /** The value for a request that is sent now; undefined if there is none. Never waits. */
  present: () => Authorization | undefined;
  /** The upstream answered 401 to a request with that value. */
  refused: (authorization: Authorization) => void;
  /** After how many seconds a client that got none may ask again, at least 1. */
  retryAfterSeconds: () => number;
  /** What a person calls it. */
  kind: "key" | "access token";
};

/** A key: it is always there, and there is no other. */
export function keyCredential(authorization: Authorization): Credential {
  return {
    present: () => authorization,
    refused: () => {},
    retryAfterSeconds: () => 1,
    kind: "key",
  };
}
