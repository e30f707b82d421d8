// The proxy's own error answers, in the shape that OpenAI's SDKs show to their users.
// https://platform.openai.com/docs/guides/error-codes

import type { UpstreamCode } from "../base/upstream-faults.ts";
import { SERVER } from "../base/version.ts";

/** `code` in the body; clients may rely on these names. */
export type ErrorCode =
  "route_refused" | "host_refused" | "browser_refused" | "length_refused" | UpstreamCode | "internal_error";

export function errorResponse(status: number, code: ErrorCode, message: string): Response {
  const headers = { "content-type": "application/json", server: SERVER };
  return new Response(errorBody(code, message), { status, headers });
}

/** The body of such an answer. */
export function errorBody(code: ErrorCode, message: string): string {
  return JSON.stringify({ error: { message, type: "proxy_error", param: null, code } });
}
