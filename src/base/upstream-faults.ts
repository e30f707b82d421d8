// What went wrong on the way to the upstream, in words, by the names that Bun 1.4.5 gives the reasons of a failed fetch. The words say
// whether the upstream may have had the request.

export const UPSTREAM_CODES = [
  "upstream_unreachable",
  "upstream_certificate",
  "upstream_tls",
  "upstream_broke_off",
  "upstream_unreadable",
  "upstream_timeout",
  "upstream_failed",
  "overloaded",
  "no_token",
] as const;

export type UpstreamCode = (typeof UPSTREAM_CODES)[number];

/** What a client hears: the status, the `code` of the error's body, what happened, and what became of the request. */
type Fault = { status: number; code: UpstreamCode; what: string; request: string };

/** The fault behind the reason of a failed fetch (`error.code`), of the upstream's or of another host's. */
export function faultFor(reason: string, host = "the upstream"): Fault {
  for (const [reasons, status, code, words, request] of FAULTS) {
    const what = words.replaceAll("the upstream", host);
    if (reasons.test(reason)) return { status, code, what: `${what} (${reason})`, request };
  }
  const what = `the exchange with ${host} failed (${reason})`;
  return { status: 502, code: "upstream_failed", what, request: MAY_HAVE_REACHED };
}

const NOT_SENT = "nothing was sent";
const MAY_HAVE_REACHED = "the request may have reached it";

/** The first row that fits counts. */
const FAULTS: [reasons: RegExp, status: number, code: UpstreamCode, what: string, request: string][] = [
  // X509_V_ERR_* (openssl-verify(1)): the handshake ends before anything is sent.
  [
    /CERT|SELF_SIGNED|UNABLE_TO_|ISSUER|CRL|ERR_TLS|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH_EXCEEDED/,
    502,
    "upstream_certificate",
    "the upstream's certificate was refused",
    NOT_SENT,
  ],
  [
    /^(ENOTFOUND|EAI_|DNS)/,
    502,
    "upstream_unreachable",
    "the upstream's name could not be resolved",
    NOT_SENT,
  ],
  [
    /^ERR_PROXY/,
    502,
    "upstream_unreachable",
    "the proxy that HTTPS_PROXY names does not connect to the upstream",
    NOT_SENT,
  ],
  [
    /^(ECONNREFUSED|ConnectionRefused|FailedToOpenSocket|ENETUNREACH|EHOSTUNREACH)/,
    502,
    "upstream_unreachable",
    "the upstream could not be reached",
    NOT_SENT,
  ],
  [
    /^(EMFILE|ENFILE)$/,
    503,
    "overloaded",
    "no file descriptor is left for a connection to the upstream",
    "nothing was sent, try again later",
  ],
  // The proxy's own name for it (proxy/upstream.ts).
  [/^NoToken$/, 503, "no_token", "no access token is left", "nothing was sent, try again later"],
  // Everything else in TLS: no common version, a server that asks for a client certificate, an invalid record, also on a connection that
  // has carried requests.
  [/^EPROTO$/, 502, "upstream_tls", "the TLS connection to the upstream failed", MAY_HAVE_REACHED],
  // RFC 9113 §8.7: such a stream was not processed.
  [/RefusedStream/, 502, "upstream_broke_off", "the upstream refused the request", "it did not process it"],
  // The kernel gave up: after some two minutes of connecting (tcp_syn_retries), or of data without an acknowledgement.
  [/^ETIMEDOUT$/, 504, "upstream_timeout", "the upstream did not answer in time", MAY_HAVE_REACHED],
  [
    /^Unframed$/,
    502,
    "upstream_unreadable",
    "the upstream's answer has neither a length nor chunks, so its end could not be told from a break",
    "",
  ],
  [
    /HTTPResponse|Malformed|UnrequestedUpgrade|ResponseHeader|InvalidContentLength|TransferEncoding|InvalidStatus/,
    502,
    "upstream_unreadable",
    "the upstream's answer could not be read",
    "the request has reached it",
  ],
  [
    /^(ECONNRESET|ConnectionClosed|EPIPE|ECONNABORTED)/,
    502,
    "upstream_broke_off",
    "the upstream broke off before its answer could be passed on",
    MAY_HAVE_REACHED,
  ],
];
