// The proxy's own error answers, in the shape that OpenAI's SDKs show to their users.
// https://platform.openai.com/docs/guides/error-codes

import { UPSTREAM_CODES } from "../base/upstream-faults.ts";
import { SERVER } from "../base/version.ts";

/** `code` in the body; clients may rely on these names. */
export const ERROR_CODES = [
  "route_refused",
  "host_refused",
  "browser_refused",
  "length_refused",
  "websocket_refused",
  "user_refused",
  "token_refused",
  "budget_spent",
  "busy",
  "rate_limited",
  ...UPSTREAM_CODES,
  "internal_error",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export function errorResponse(
  status: number,
  code: ErrorCode,
  message: string,
  more: Readonly<Record<string, string>> = {},
): Response {
  const headers = { "content-type": "application/json", server: SERVER, ...more };
  return new Response(errorBody(code, message), { status, headers });
}

/** The body of such an answer. */
export function errorBody(code: ErrorCode, message: string): string {
  return JSON.stringify({ error: { message, type: "proxy_error", param: null, code } });
}
