// OpenAI's own SDK works through the compiled binary, with a TLS upstream whose CA is made for the run.

import { beforeAll, expect, test } from "bun:test";

import OpenAI, { PermissionDeniedError } from "openai";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { until } from "../harness/deadline.ts";
import { CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { type ResponsesApi, startResponsesApi, WORDS } from "../harness/responses-api.ts";

/** How many words of the stream the client has received. */
let got = 0;

let api: ResponsesApi;
let proxy: Proxy;
let client: OpenAI;

beforeAll(async () => {
  const authority = await makeAuthority();
  // A word is sent once the client has the one before: if the proxy held one back, the stream would stop.
  const beforeWord = (index: number): Promise<boolean> =>
    until(() => got >= index, `word ${index} to arrive`);
  api = startResponsesApi({ tls: authority.server, beforeWord });
  proxy = await Proxy.start({
    args: [`--upstream-url=${api.url}`],
    env: trust(authority, temporaryDirectory()),
  });
  client = new OpenAI({ baseURL: `${proxy.baseUrl}/v1`, apiKey: "the-clients-own", maxRetries: 0 });
});

test("a plain answer", async () => {
  const response = await client.responses.create({ model: "gpt-5", input: "hello" });
  expect(response.output_text).toBe(WORDS.join(""));
  expect(response._request_id).toBe("req_1");
});

test("a stream, event by event, each as it comes", async () => {
  const stream = await client.responses.create({ model: "gpt-5", input: "hello", stream: true });
  const deltas: string[] = [];
  let final = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") {
      deltas.push(event.delta);
      got = deltas.length;
    }
    if (event.type === "response.completed") final = event.response.status ?? "";
  }
  expect(deltas).toEqual(WORDS);
  expect(final).toBe("completed");
});

test("the upstream sees the SDK's fields and the proxy's Authorization, not the SDK's", () => {
  expect(api.requests).toHaveLength(2);
  for (const { headers } of api.requests) {
    expect(headers.get("authorization")).toBe(`Bearer ${CANARY_KEY}`);
    expect(headers.get("host")).toBe(new URL(api.url).host);
    expect(headers.get("user-agent")).toStartWith("OpenAI/JS");
    expect(headers.get("content-type")).toBe("application/json");
    expect(JSON.stringify([...headers])).not.toContain("the-clients-own");
  }
});

test("a 403 from the proxy reads well in the SDK's exception", async () => {
  const refused = await client.models.list().then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(refused).toBeInstanceOf(PermissionDeniedError);
  expect(refused).toMatchObject({
    status: 403,
    code: "route_refused",
    type: "proxy_error",
    message: "403 refused by responses-api-proxy: only POST /v1/responses, without a query, passes",
  });
});

test("a client that leaves in the middle of a stream disturbs no other", async () => {
  const stream = await client.responses.create({ model: "gpt-5", input: "hello", stream: true });
  for await (const event of stream) if (event.type === "response.output_text.delta") break;
  const response = await client.responses.create({ model: "gpt-5", input: "hello" });
  expect(response.output_text).toBe(WORDS.join(""));
});
