// Which header fields go which way. Pure; RFC 9110 throughout.

/**
 * Fields that end at the next hop (RFC 9110 §7.6.1), besides what Connection names, and two that go with them:
 * Proxy-Authorization and Proxy-Authenticate are between a client and its next proxy (§11.7), and Trailer announces what
 * Bun 1.4.5 does not carry (a request with trailers is answered 400, an answer's are dropped).
 */
const HOP_BY_HOP = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
] as const;

/** These let a web page read an answer. No web page may, whatever the upstream says. */
const CROSS_ORIGIN = [
  "access-control-allow-credentials",
  "access-control-allow-headers",
  "access-control-allow-methods",
  "access-control-allow-origin",
  "access-control-allow-private-network",
  "access-control-expose-headers",
  "access-control-max-age",
] as const;

/** Returns the client's end-to-end fields without Host, which the URL decides. The caller adds the Authorization. */
export function toUpstream(client: Headers): Headers {
  const headers = new Headers(client);
  dropHopByHop(headers);
  headers.delete("host");
  return headers;
}

/** Removes from the upstream's own Headers what the client does not get. In place: a copy of the answer costs throughput (docs/bun.md). */
export function toClient(upstream: Headers): void {
  dropHopByHop(upstream);
  for (const name of CROSS_ORIGIN) upstream.delete(name);
}

/**
 * Whether the end of an HTTP/1.x answer can be told from a break: by a length, or by chunks as the last of its codings (RFC 9112 §6.3). An
 * answer that ends with its connection cannot: Bun 1.4.5 takes a reset, and TLS without close_notify, for its end.
 */
export function isFramed({
  status,
  headers,
}: {
  status: number;
  headers: Pick<Headers, "get" | "has">;
}): boolean {
  if (status === 204 || status === 304) return true;
  const coding = headers.get("transfer-encoding");
  return coding === null ? headers.has("content-length") : /(^|,)\s*chunked\s*$/i.test(coding);
}

function dropHopByHop(headers: Headers): void {
  const named = headers.get("connection");
  if (named !== null) dropNamed(headers, named);
  for (const name of HOP_BY_HOP) headers.delete(name);
}

function dropNamed(headers: Headers, connection: string): void {
  for (const option of connection.split(",")) {
    const name = option.trim();
    // RFC 9110 §5.6.2 token: anything else names no field, and Headers would throw at it.
    if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) headers.delete(name);
  }
}
