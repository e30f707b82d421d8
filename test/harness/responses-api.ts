// A stand-in Responses API over TLS: it answers any prompt with the same words, whole or as a stream of events.

import type { Certificate } from "./certificates.ts";

type Seen = { url: string; headers: Headers };

export type ResponsesApi = { url: string; requests: Seen[]; stop: () => void };

export const WORDS = ["The ", "key ", "stays ", "where ", "it ", "is."];

/** Starts one on a free port of 127.0.0.1; before each word of a stream it waits for `pauseMs`, or until `beforeWord` says so. */
export function startResponsesApi({
  tls,
  pauseMs = 0,
  beforeWord = () => Bun.sleep(pauseMs),
}: {
  tls: Certificate;
  pauseMs?: number;
  beforeWord?: (index: number) => Promise<unknown>;
}): ResponsesApi {
  const requests: Seen[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls,
    development: false,
    reusePort: false,
    async fetch(request) {
      requests.push({ url: request.url, headers: new Headers(request.headers) });
      const { stream, model } = (await request.json()) as { stream?: boolean; model: string };
      if (!stream) return Response.json(finished(model), { headers: { "x-request-id": "req_1" } });
      return new Response(events(model, beforeWord), {
        headers: { "content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_1" },
      });
    },
  });
  return {
    url: `https://localhost:${server.port}/v1/responses`,
    requests,
    stop: () => void server.stop(true),
  };
}

async function* events(
  model: string,
  beforeWord: (index: number) => Promise<unknown>,
): AsyncGenerator<string> {
  const item = { item_id: "msg_1", output_index: 0, content_index: 0 };
  let sequence = 0;
  const event = (type: string, fields: object): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...fields })}\n\n`;
  yield event("response.created", { response: { ...skeleton(model), status: "in_progress", output: [] } });
  yield event("response.output_item.added", {
    output_index: 0,
    item: { ...message(""), status: "in_progress", content: [] },
  });
  yield event("response.content_part.added", { ...item, part: outputText("") });
  for (const [index, delta] of WORDS.entries()) {
    await beforeWord(index);
    yield event("response.output_text.delta", { ...item, delta });
  }
  yield event("response.output_text.done", { ...item, text: WORDS.join("") });
  yield event("response.content_part.done", { ...item, part: outputText(WORDS.join("")) });
  yield event("response.output_item.done", { output_index: 0, item: message(WORDS.join("")) });
  yield event("response.completed", { response: finished(model) });
}

function finished(model: string) {
  return { ...skeleton(model), status: "completed", output: [message(WORDS.join(""))] };
}

function skeleton(model: string) {
  const usage = { input_tokens: 1, output_tokens: 6, total_tokens: 7 };
  return {
    id: "resp_1",
    object: "response",
    created_at: 1_700_000_000,
    model,
    error: null,
    incomplete_details: null,
    usage,
  };
}

function message(text: string) {
  return {
    id: "msg_1",
    type: "message",
    role: "assistant",
    status: "completed",
    content: [outputText(text)],
  };
}

function outputText(text: string) {
  return { type: "output_text", text, annotations: [] };
}
