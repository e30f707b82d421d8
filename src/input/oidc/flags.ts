// The flags of --github-oidc, with the sentences that --help shows. `codex responses-api-proxy` 0.169.0 has the same, but for --oidc-token-url.

import type { ArgsDef } from "citty";

export const OIDC_FLAGS = {
  "github-oidc": {
    type: "boolean",
    description:
      "Get short-lived access tokens through GitHub's OIDC in place of a key; requires the next four",
  },
  "oidc-audience": {
    type: "string",
    valueHint: "AUDIENCE",
    description: "The audience of the workload identity provider",
  },
  "identity-provider-id": { type: "string", valueHint: "ID", description: "The provider" },
  "service-account-id": {
    type: "string",
    valueHint: "ID",
    description: "The service account that the provider maps the workflow to",
  },
  "github-oidc-request-url": {
    type: "string",
    valueHint: "URL",
    description: "The runner's ACTIONS_ID_TOKEN_REQUEST_URL",
  },
  "oidc-token-url": {
    type: "string",
    valueHint: "URL",
    description: "Where tokens are exchanged (default: https://auth.openai.com/oauth/token)",
  },
} as const satisfies ArgsDef;
