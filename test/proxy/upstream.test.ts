// Requests to the upstream override defaults of the runtime, in environments that make each default visible.

import { describe, expect, test } from "bun:test";
import { createSecureServer } from "node:http2";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { CANARY_KEY, type Ended, runProgram, temporaryDirectory } from "../harness/program.ts";
import { OK, RawUpstream } from "../harness/upstream.ts";

const SENDER = `${import.meta.dir}/../harness/sender.ts`;

/** The same request without the program's settings. */
const plainly = (url: string): string[] => [
  "-e",
  `await fetch("${url}", { method: "POST", headers: { authorization: "Bearer ${CANARY_KEY}" } })
    .then(({ status }) => console.log(status), ({ name }) => console.log(name))`,
];

const run = (args: readonly string[], env: Record<string, string>): Promise<Ended> =>
  runProgram({ binary: process.execPath, args, env, seconds: 30 });

describe("a request to the upstream", () => {
  test("waits as long as the upstream is silent, though a plain fetch gives up", async () => {
    // The default timeout is 300 s (Bun 1.4.5). Set to 1 s, it expires after 4 to 8 s.
    const env = { BUN_CONFIG_HTTP_IDLE_TIMEOUT: "1" };
    const answers: (() => void)[] = [];
    const upstream = new RawUpstream({
      answer: ({ write }) => {
        answers.push(() => write(OK));
      },
    });
    const ours = run([SENDER, upstream.url, CANARY_KEY], env);
    const plain = await run(plainly(upstream.url), env);
    expect(plain.stdout).toBe("TimeoutError\n");
    // As long again, to show that it has no timeout rather than a longer one.
    const again = await run(plainly(upstream.url), env);
    expect(again.stdout).toBe("TimeoutError\n");
    for (const answer of answers) answer();
    expect((await ours).stdout).toBe("200\n");
  });

  test("speaks HTTP/1.1, though a plain fetch speaks HTTP/2", async () => {
    const authority = await makeAuthority();
    const versions: string[] = [];
    const options = { ...authority.server, allowHTTP1: true };
    const server = createSecureServer(options, (request, response) => {
      versions.push(request.httpVersion);
      request.resume();
      response.end("ok");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    atEnd(() => void server.close());
    const url = `https://localhost:${(server.address() as { port: number }).port}/v1/responses`;
    const env = {
      BUN_FEATURE_FLAG_EXPERIMENTAL_HTTP2_CLIENT: "1",
      ...trust(authority, temporaryDirectory()),
    };
    expect((await run(plainly(url), env)).stdout).toBe("200\n");
    expect((await run([SENDER, url, CANARY_KEY], env)).stdout).toBe("200\n");
    expect(versions).toEqual(["2.0", "1.1"]);
  });

  test("is not printed, though a plain fetch is", async () => {
    const env = { BUN_CONFIG_VERBOSE_FETCH: "curl" };
    const upstream = new RawUpstream();
    const plain = await run(plainly(upstream.url), env);
    expect(plain.stdout + plain.stderr).toContain(CANARY_KEY);
    const ours = await run([SENDER, upstream.url, CANARY_KEY], env);
    expect(ours).toMatchObject({ exitCode: 0, stdout: "200\n", stderr: "" });
  });
});
