// What the upstream says about the key: 401, 403 and 429. The client hears it; whoever runs the proxy should, too.

import * as terminal from "../base/terminal.ts";

/** Longer bodies are not read here; an error of OpenAI's has some 300 bytes. */
const MAX_BODY_BYTES = 4096;
const WARN_EVERY_MS = 60_000;

const MEANING: Record<number, string> = {
  401: "the upstream does not accept the key",
  403: "the upstream does not allow this with the key",
  429: "the upstream's limit is reached",
};

const warnedAt = new Map<number, number>();

/** Whether the answer is one that is worth a warning now: once a minute for each status. */
export function isTrouble(status: number): boolean {
  return status in MEANING && performance.now() - (warnedAt.get(status) ?? -Infinity) >= WARN_EVERY_MS;
}

/**
 * Warns, with the error's `code` if the body is short JSON that has one, never with its message, which may quote anything. Returns the answer, whose
 * body may have been read. Rejects if the upstream breaks off.
 */
export async function tellTrouble(answer: Response): Promise<Response> {
  const { status, headers } = answer;
  warnedAt.set(status, performance.now());
  const isShort = Number(headers.get("content-length") ?? Infinity) <= MAX_BODY_BYTES;
  const body = isShort ? await answer.bytes() : undefined;
  const code = codeIn(body);
  terminal.warning(`${MEANING[status]} (${status}${code === undefined ? "" : `, ${code}`})`);
  return body === undefined ? answer : new Response(body, { status, headers });
}

function codeIn(body: Uint8Array | undefined): string | undefined {
  try {
    const { error } = JSON.parse(new TextDecoder().decode(body)) as { error?: { code?: unknown } };
    return typeof error?.code === "string" && /^\w{1,64}$/.test(error.code) ? error.code : undefined;
  } catch {
    return undefined;
  }
}
