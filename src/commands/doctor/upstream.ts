// Whether the hosts that the proxy asks can be reached: one HEAD each, without a key or token, with the settings of the proxy's own requests.

import { causeOf } from "../../base/errors.ts";
import { faultFor, type UpstreamCode } from "../../base/upstream-faults.ts";
import { SERVER } from "../../base/version.ts";
import type { Options } from "../../input/options.ts";
import { addressOf, fetchSettings } from "../../input/upstream-url.ts";
import type { Check } from "./report.ts";

const TIMEOUT_MS = 5000;

/** Their checks' ids. */
type Host = "id-token" | "access-token" | "upstream";

/** The upstream, after the hosts that tokens come from. */
export function checkHosts({ upstreamUrl, githubOidc }: Options): Promise<Check[]> {
  const tokens =
    githubOidc === undefined
      ? []
      : [
          checkHost("id-token", githubOidc.requestUrl, "--github-oidc-request-url"),
          checkHost("access-token", githubOidc.tokenUrl, "--oidc-token-url"),
        ];
  return Promise.all([...tokens, checkHost("upstream", upstreamUrl, "--upstream-url")]);
}

/** Any answer will do, a 401 too: it shows that name, port, proxy and certificate are right. */
async function checkHost(id: Host, url: URL, flag: string): Promise<Check> {
  const began = performance.now();
  try {
    const headers = { "user-agent": SERVER };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(url, {
      ...fetchSettings(url),
      method: "HEAD",
      headers,
      signal,
    } as RequestInit);
    const ms = Math.round(performance.now() - began);
    return { id, status: "ok", found: `${addressOf(url)} answers HEAD with ${answer.status}, ${ms} ms` };
  } catch (error) {
    if (causeOf(error) === "TimeoutError")
      return { id, status: "fatal", found: `no answer within ${TIMEOUT_MS / 1000} s`, advice: ADVICE.late };
    const { code, what } = faultFor(causeOf(error), id === "upstream" ? "the upstream" : url.host);
    return { id, status: "fatal", found: what, advice: (ADVICE[code] ?? ADVICE.other).replace("FLAG", flag) };
  }
}

const ADVICE: Partial<Record<UpstreamCode, string>> & { late: string; other: string } = {
  upstream_unreachable: "see whether host and port of FLAG, /etc/resolv.conf and HTTPS_PROXY are right",
  upstream_certificate:
    "if a company's proxy has replaced the certificate: SSL_CERT_FILE or NODE_EXTRA_CA_CERTS must name its authority",
  upstream_tls: "see whether TLS 1.2 or 1.3 is spoken at that port",
  late: "a firewall may drop what is sent there; HTTPS_PROXY names the way out if there is one",
  other: "see whether FLAG names the right host",
};
