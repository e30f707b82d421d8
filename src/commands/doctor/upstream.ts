// Whether the upstream can be reached: one HEAD without a key, with the settings of the proxy's own requests.

import { causeOf } from "../../base/errors.ts";
import { faultFor, type UpstreamCode } from "../../base/upstream-faults.ts";
import { SERVER } from "../../base/version.ts";
import { addressOf, fetchSettings } from "../../input/upstream-url.ts";
import type { Check } from "./report.ts";

const TIMEOUT_MS = 5000;

/** Any answer will do, a 401 too: it shows that name, port, proxy and certificate are right. */
export async function checkUpstream(url: URL): Promise<Check> {
  const id = "upstream";
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
    const { code, what } = faultFor(causeOf(error));
    return { id, status: "fatal", found: what, advice: ADVICE[code] ?? ADVICE.other };
  }
}

const ADVICE: Partial<Record<UpstreamCode, string>> & { late: string; other: string } = {
  upstream_unreachable: "see whether the host of --upstream-url, /etc/resolv.conf and HTTPS_PROXY are right",
  upstream_certificate:
    "if a company's proxy has replaced the certificate: SSL_CERT_FILE or NODE_EXTRA_CA_CERTS must name its authority",
  upstream_tls: "see whether TLS 1.2 or 1.3 is spoken at that port",
  late: "a firewall may drop what is sent there; HTTPS_PROXY names the way out if there is one",
  other: "see whether the upstream is the right one",
};
