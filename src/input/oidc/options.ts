// --github-oidc and its flags: which are accepted together, and which URLs. Nothing of them is secret. Pure.

import { type Given, quote, usageError } from "../arguments.ts";
import { DEFAULT_UPSTREAM_URL, portOf, withoutUserInfo } from "../upstream-url.ts";
import type { OIDC_FLAGS } from "./flags.ts";

/** Where short-lived tokens come from, and for whom. */
export type GitHubOidc = Readonly<{
  /** GitHub's, which returns an ID token for the audience. */
  requestUrl: URL;
  audience: string;
  identityProviderId: string;
  serviceAccountId: string;
  /** OpenAI's, which exchanges that for an access token. */
  tokenUrl: URL;
}>;

export const DEFAULT_TOKEN_URL = "https://auth.openai.com/oauth/token";

/** Each has room in the pages that the exchange's request is made in (key/oidc/exchange.ts). */
const MAX_VALUE_CHARACTERS = 1024;

const REQUIRED = [
  "oidc-audience",
  "identity-provider-id",
  "service-account-id",
  "github-oidc-request-url",
] as const;

/** Undefined without --github-oidc. Throws UserError with exit code 2. */
export function parseGitHubOidc(
  given: Given<typeof OIDC_FLAGS> & { "upstream-url"?: string },
): GitHubOidc | undefined {
  if (given["github-oidc"] !== true) {
    for (const name of [...REQUIRED, "oidc-token-url"] as const)
      if (given[name] !== undefined) throw usageError(`--${name} requires --github-oidc`);
    return undefined;
  }
  const missing = REQUIRED.filter((name) => given[name] === undefined);
  if (missing.length > 0)
    throw usageError(`--github-oidc requires ${missing.map((name) => `--${name}`).join(", ")}`);
  // A token for OpenAI must not go to whatever host a workflow names. Another installation has both: its upstream, and where its tokens are from.
  const isDefault = URL.parse(given["upstream-url"] ?? DEFAULT_UPSTREAM_URL)?.href === DEFAULT_UPSTREAM_URL;
  if (!isDefault && given["oidc-token-url"] === undefined)
    throw usageError("--github-oidc requires the default --upstream-url", [
      "another installation needs its --oidc-token-url, too",
    ]);
  return {
    requestUrl: parseHttpsUrl("github-oidc-request-url", given["github-oidc-request-url"]!),
    audience: parseValue("oidc-audience", given["oidc-audience"]!),
    identityProviderId: parseValue("identity-provider-id", given["identity-provider-id"]!),
    serviceAccountId: parseValue("service-account-id", given["service-account-id"]!),
    tokenUrl: parseHttpsUrl("oidc-token-url", given["oidc-token-url"] ?? DEFAULT_TOKEN_URL),
  };
}

/** The arguments that give these options again. */
export function oidcArguments(oidc: GitHubOidc | undefined): string[] {
  if (oidc === undefined) return [];
  return [
    "--github-oidc",
    `--oidc-audience=${oidc.audience}`,
    `--identity-provider-id=${oidc.identityProviderId}`,
    `--service-account-id=${oidc.serviceAccountId}`,
    `--github-oidc-request-url=${oidc.requestUrl.href}`,
    `--oidc-token-url=${oidc.tokenUrl.href}`,
  ];
}

/** Every URL that the proxy connects to. */
export function destinations({
  upstreamUrl,
  githubOidc,
}: {
  upstreamUrl: URL;
  githubOidc: GitHubOidc | undefined;
}): URL[] {
  return [upstreamUrl, ...(githubOidc === undefined ? [] : [githubOidc.requestUrl, githubOidc.tokenUrl])];
}

function parseValue(name: keyof typeof OIDC_FLAGS, text: string): string {
  if (text.length <= MAX_VALUE_CHARACTERS) return text;
  throw usageError(`--${name} must have at most ${MAX_VALUE_CHARACTERS} characters, got ${text.length}`);
}

/** Https alone, also on loopback: what is sent there is as secret as a key. Every user can see arguments, so a password is not repeated. */
function parseHttpsUrl(name: keyof typeof OIDC_FLAGS, text: string): URL {
  const url = URL.parse(text);
  const refuse = (what: string) => usageError(`--${name} must ${what}, got ${quote(withoutUserInfo(text))}`);
  if (url === null || !/^https:\/\/[^\s\\]+$/i.test(text)) throw refuse("be an absolute https URL");
  if (url.username !== "" || url.password !== "") throw refuse("not contain user info");
  if (text.includes("#")) throw refuse("not contain a fragment");
  if (portOf(url) === 0) throw refuse("not have port 0");
  return url;
}
