// May this request pass? Pure functions of its method, target and header fields; all else is a refusal, which names its rule.

import type { ErrorCode } from "./errors.ts";

export const ROUTE = "/v1/responses";
export const SHUTDOWN_ROUTE = "/shutdown";

/** Why a request may not pass, for the client that sent it. */
export type Refusal = { code: ErrorCode; message: string };

/** What the rules look at. `url` is Bun's: `http://`, the Host field as it came, and the target with its dot segments resolved: routes judge the path, not this. */
export type Head = { method: string; url: string; headers: Pick<Headers, "get" | "has"> };

/** The rule that keeps a request for POST /v1/responses from the upstream, or undefined: it may pass. */
export function refuseExchange(head: Head): Refusal | undefined {
  return (
    refuseOtherMethods(head, "POST") ??
    refuseQuery(head) ??
    refuseStrangers(head) ??
    refuseUnclearLength(head)
  );
}

/** The rule that keeps a request from ending the program, or undefined. */
export function refuseShutdown(head: Head): Refusal | undefined {
  return refuseOtherMethods(head, "GET") ?? refuseQuery(head) ?? refuseStrangers(head);
}

/** For every target that is not a route of ours. */
export const ROUTE_REFUSED: Refusal = {
  code: "route_refused",
  message: `refused by responses-api-proxy: only POST ${ROUTE}, without a query, passes`,
};

function refuseOtherMethods({ method }: Head, allowed: string): Refusal | undefined {
  return method === allowed ? undefined : ROUTE_REFUSED;
}

/** Bun's route table ignores the query, but keeps even an empty one in `url`. */
function refuseQuery({ url }: Head): Refusal | undefined {
  return url.includes("?") ? ROUTE_REFUSED : undefined;
}

function refuseStrangers(head: Head): Refusal | undefined {
  return refuseForeignHost(head) ?? refuseBrowserRequests(head);
}

/**
 * A name that resolves to 127.0.0.1 makes a web page's requests "same origin" (DNS rebinding), but the page's own name stays
 * in Host. Two Host lines arrive joined by a comma, and match nothing; so does none at all (HTTP/1.0).
 */
function refuseForeignHost({ headers }: Head): Refusal | undefined {
  if (/^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/i.test(headers.get("host") ?? "")) return undefined;
  return {
    code: "host_refused",
    message: `refused by responses-api-proxy: the Host must be 127.0.0.1, localhost or [::1]; only POST ${ROUTE} passes`,
  };
}

/**
 * Browsers send Origin with every cross-origin POST and Sec-Fetch-Site with everything, an <img> included; neither can be
 * suppressed by a page (Fetch §2.2.2, forbidden request-headers). Sec-Fetch-Mode alone is no sign: Node's fetch sends it.
 */
function refuseBrowserRequests({ headers }: Head): Refusal | undefined {
  const site = headers.get("sec-fetch-site");
  if (!headers.has("origin") && (site === null || site === "none")) return undefined;
  return {
    code: "browser_refused",
    message: `refused by responses-api-proxy: requests from web pages do not pass (Origin, Sec-Fetch-Site); only POST ${ROUTE} from programs does`,
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
