// The proxy speaks HTTP/1.1 to the upstream, whatever the upstream offers.

import { beforeAll, expect, test } from "bun:test";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";

import { type Authority, makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { roundTrip } from "../harness/wire.ts";

const REQUEST =
  "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: x-hop\r\nX-Hop: a\r\nContent-Length: 2\r\n\r\nhi";

type Seen = { httpVersion: string; headers: Record<string, unknown> };

let authority: Authority;
beforeAll(async () => {
  authority = await makeAuthority();
});

/** Returns what an upstream sees of a request that goes through a proxy. */
async function seenBy(create: typeof createSecureServer | typeof createServer): Promise<Seen[]> {
  const seen: Seen[] = [];
  const options = { ...authority.server, allowHTTP1: true };
  const server = (create as typeof createSecureServer)(options, (request, response) => {
    seen.push({ httpVersion: request.httpVersion, headers: request.headers });
    request.resume();
    response.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(() => void server.close());
  const { port } = server.address() as { port: number };
  const args = [`--upstream-url=https://localhost:${port}/v1/responses`];
  const proxy = await Proxy.start({ args, env: trust(authority, temporaryDirectory()) });
  expect((await roundTrip(proxy.port, REQUEST)).body).toBe("ok");
  return seen;
}

const OFFERS: [what: string, create: typeof createSecureServer | typeof createServer][] = [
  ["HTTP/2 and 1.1", createSecureServer],
  ["HTTP/1.1 only", createServer],
];

test.each(OFFERS)("an upstream that offers %s", async (_what, create) => {
  const seen = await seenBy(create);
  expect(seen.map(({ httpVersion }) => httpVersion)).toEqual(["1.1"]);
  const { headers } = seen[0]!;
  expect(headers["authorization"]).toBe(`Bearer ${CANARY_KEY}`);
  expect(headers["x-hop"]).toBeUndefined();
});
