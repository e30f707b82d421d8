// Decides whether a request may pass: pure functions of its method, target and header fields. A refusal names its rule.

import type { ErrorCode } from "./error-response.ts";

export const ROUTE = "/v1/responses";
export const SHUTDOWN_ROUTE = "/shutdown";

/** Why a request may not pass, for the client that sent it; 403 if no status is given. `by` is the client, in words for the log. */
export type Refusal = {
  status?: number;
  code: ErrorCode;
  message: string;
  headers?: Record<string, string>;
  by?: string | undefined;
};

/**
 * What the rules look at. `url` is Bun's: `http://`, the Host field as it came, and the target with its dot segments resolved. So the route
 * table must check the raw path (server.ts).
 */
type Head = { method: string; url: string; headers: Pick<Headers, "get" | "has"> };

/** The rule that keeps a request for POST /v1/responses from the upstream, or undefined: it may pass. */
export function refuseExchange(head: Head): Refusal | undefined {
  return (
    refuseWebSocket(head) ??
    refuseOtherMethods(head, "POST") ??
    refuseQuery(head) ??
    refuseForeignOrigins(head) ??
    refuseUnclearLength(head)
  );
}

/** The rule that keeps a request from ending the program, or undefined. */
export function refuseShutdown(head: Head): Refusal | undefined {
  return refuseOtherMethods(head, "GET") ?? refuseQuery(head) ?? refuseForeignOrigins(head);
}

/**
 * The path of a request for the log, without its query, which may hold anything, a key for example. Bun puts the Host field into `url` as
 * it came, so the path is shown only if that field is one of the proxy's own names.
 */
export function loggablePath({ url, headers }: Head): string {
  if (!isOwnHost(headers)) return "…";
  return url.replace(/^https?:\/\/[^/?#]*/i, "").replace(/([?#]|%3f|%23).*/is, "$1…");
}

/** Whether Host is a name by which programs on this host reach the proxy. */
function isOwnHost(headers: Head["headers"]): boolean {
  return /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/i.test(headers.get("host") ?? "");
}

/** Whether `status` or `wait` asks: refused like any other request, but not counted. */
export function isProbe({ method, url, headers }: Head): boolean {
  const isRoot = /^https?:\/\/[^/?#]*\/$/i.test(url);
  return method === "GET" && isRoot && (headers.get("user-agent") ?? "").startsWith("responses-api-proxy/");
}

/** For every target that is no route of the proxy's. */
export const ROUTE_REFUSED: Refusal = {
  code: "route_refused",
  message: `refused by responses-api-proxy: only POST ${ROUTE}, without a query, passes`,
};

/** The refusal of a target that is no route: /responses is what a client with a wrong base URL asks for. */
export function refusalOfTarget(head: Head): Refusal {
  return head.method === "POST" && loggablePath(head) === "/responses" ? BASE_URL_REFUSED : ROUTE_REFUSED;
}

const BASE_URL_REFUSED: Refusal = {
  ...ROUTE_REFUSED,
  message: `refused by responses-api-proxy: the base URL must end in /v1; only POST ${ROUTE}, without a query, passes`,
};

/**
 * A program that asks for a WebSocket (RFC 6455 §4.1) hears that HTTP/1.1 is required (RFC 9110 §15.5.22): Codex then sends a POST at once, where a
 * 403 has it try again for seconds. Everything else about the request must be as it may be.
 */
function refuseWebSocket(head: Head): Refusal | undefined {
  const { method, headers } = head;
  const isHandshake = method === "GET" && /\bwebsocket\b/i.test(headers.get("upgrade") ?? "");
  if (!isHandshake || (refuseQuery(head) ?? refuseForeignOrigins(head)) !== undefined) return undefined;
  return {
    status: 426,
    code: "websocket_refused",
    message: `refused by responses-api-proxy: no WebSocket; only POST ${ROUTE} passes`,
    headers: { connection: "upgrade", upgrade: "HTTP/1.1" },
  };
}

function refuseOtherMethods({ method }: Head, allowed: string): Refusal | undefined {
  return method === allowed ? undefined : ROUTE_REFUSED;
}

/** Bun's route table ignores the query, but keeps even an empty one in `url`. */
function refuseQuery({ url }: Head): Refusal | undefined {
  return url.includes("?") ? ROUTE_REFUSED : undefined;
}

function refuseForeignOrigins(head: Head): Refusal | undefined {
  return refuseForeignHost(head) ?? refuseBrowserRequests(head);
}

/**
 * A name that resolves to 127.0.0.1 makes a web page's requests "same origin" (DNS rebinding), but the page's own name stays
 * in Host. Two Host lines arrive joined by a comma, and match nothing; so does none at all (HTTP/1.0).
 */
function refuseForeignHost({ headers }: Head): Refusal | undefined {
  if (isOwnHost(headers)) return undefined;
  return {
    code: "host_refused",
    message: `refused by responses-api-proxy: the Host must be 127.0.0.1, localhost or [::1]; only POST ${ROUTE} passes`,
  };
}

/**
 * What a browser adds by itself and a page cannot suppress (Fetch §2.2.2, forbidden request-headers): Origin with every cross-origin POST,
 * the Sec-Fetch fields with everything, an <img> included (W3C Fetch Metadata). `Sec-Fetch-Site: none` is no exception: a URL that the user
 * has typed keeps it over the redirects that a site answers with. Browsers without these fields send Referer, or their name.
 */
const FROM_BROWSERS_ALONE = [
  "origin",
  "referer",
  "sec-fetch-dest",
  "sec-fetch-site",
  "sec-fetch-storage-access",
  "sec-fetch-user",
] as const;

/** Browsers by their User-Agent: all large ones begin with Mozilla, for reasons of history. */
const BROWSER_NAMES = /^\s*Mozilla\/|\b(dillo|e?links|lynx|netsurf|opera|w3m)\b/i;

function refuseBrowserRequests({ headers }: Head): Refusal | undefined {
  // Not in the list above: Node's fetch sends this field, and always this value.
  const mode = headers.get("sec-fetch-mode");
  const isProgram =
    !FROM_BROWSERS_ALONE.some((name) => headers.has(name)) &&
    (mode === null || mode === "cors") &&
    !BROWSER_NAMES.test(headers.get("user-agent") ?? "");
  if (isProgram) return undefined;
  return {
    code: "browser_refused",
    message: `refused by responses-api-proxy: requests from web browsers do not pass (Origin, Referer, Sec-Fetch-*, User-Agent); only POST ${ROUTE} from programs does`,
  };
}

/** RFC 9110 §8.6 leaves a repeated Content-Length, even an identical one, to be refused; Bun's parser lets that one through, as "2, 2". */
function refuseUnclearLength({ headers }: Head): Refusal | undefined {
  if (/^\d+$/.test(headers.get("content-length") ?? "0")) return undefined;
  return {
    code: "length_refused",
    message: `refused by responses-api-proxy: Content-Length must stand once; only POST ${ROUTE} passes`,
  };
}
