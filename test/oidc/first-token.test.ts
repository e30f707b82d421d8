// The start with --github-oidc: the two requests as they stand on the wire, the token that the upstream gets, and every answer that keeps the
// proxy from starting. No message repeats a byte of a token or of an answer.

import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { version } from "../../package.json";
import { makeAuthority, trust } from "../harness/certificates.ts";
import { within } from "../harness/deadline.ts";
import { ACCOUNT, AUDIENCE, json, OidcHosts, PROVIDER, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import {
  BARE_ENVIRONMENT,
  BINARY,
  type Ended,
  Proxy,
  runProgram,
  temporaryDirectory,
} from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

let hosts: OidcHosts;
beforeAll(async () => {
  hosts = await OidcHosts.start();
});
const usual = {
  idAnswer: (value: string) => ({ value }),
  accessAnswer: (token: string) => hosts.goodAnswer(token),
};
afterEach(() => {
  Object.assign(hosts, { ...usual, beforeAnswer: () => undefined, closes: false, lifeSeconds: 3600 });
  for (const host of [hosts.github, hosts.openai, hosts.upstream]) host.requests.length = 0;
  hosts.idTokens.length = hosts.accessTokens.length = 0;
});

/** No text has a token, or a part of one. */
function expectNoToken(...texts: string[]): void {
  const tokens = [REQUEST_TOKEN, ...hosts.idTokens, ...hosts.accessTokens].flatMap((token) => [
    token.slice(0, 12),
    token.slice(40, 52),
    token.slice(-12),
  ]);
  for (const text of texts) for (const token of tokens) expect(text).not.toContain(token);
}

describe("a start", () => {
  test("asks GitHub for an ID token, exchanges it, and sends the access token to the upstream", async () => {
    const proxy = await hosts.proxy("--log-level=debug");
    await proxy.waitForLine(/authorization from .*\n/);
    // Before it listened: the two requests are there already.
    expect(hosts.github.requests).toEqual([
      {
        first: `GET /idtoken/1/2?api-version=2.0&audience=${encodeURIComponent(AUDIENCE)} HTTP/1.1`,
        fields: [
          ["accept", "application/json"],
          ["authorization", `Bearer ${REQUEST_TOKEN}`],
          ["user-agent", `responses-api-proxy/${version}`],
          ["host", `localhost:${hosts.github.port}`],
        ],
        body: "",
      },
    ]);
    const [exchanged, ...more] = hosts.openai.requests;
    expect(more).toEqual([]);
    expect(exchanged).toMatchObject({
      first: "POST /oauth/token HTTP/1.1",
      fields: [
        ["accept", "application/json"],
        ["content-type", "application/json"],
        ["user-agent", `responses-api-proxy/${version}`],
        ["host", `localhost:${hosts.openai.port}`],
        ["content-length", String(exchanged!.body.length)],
      ],
    });
    // The stand-in keeps a character for each byte.
    expect(JSON.parse(Buffer.from(exchanged!.body, "latin1").toString())).toEqual({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      subject_token: hosts.idTokens[0]!,
      identity_provider_id: PROVIDER,
      service_account_id: ACCOUNT,
    });
    const answer = await roundTrip(
      proxy.port,
      REQUEST.replace("Host:", "Authorization: Bearer the-client's\r\nHost:"),
    );
    expect(answer.status).toBe(200);
    expect(hosts.upstream.requests[0]!.fields).toContainEqual([
      "authorization",
      `Bearer ${hosts.accessTokens[0]}`,
    ]);
    const { exitCode, stdout, stderr } = await proxy.stop();
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "" });
    expect(stderr).toContain(
      "\nresponses-api-proxy: authorization from GitHub OIDC, the access token expires in 60 min\n",
    );
    expectNoToken(stderr);
    // No more than one exchange in all that.
    expect([hosts.github.requests.length, hosts.openai.requests.length]).toEqual([1, 1]);
  });

  test("--log-json: an event of its own", async () => {
    const proxy = await hosts.proxy("--log-json");
    const [line] = await proxy.waitForLine(/^.*"event":"token".*$/m);
    expect(JSON.parse(line)).toMatchObject({
      level: "info",
      event: "token",
      message: "authorization from GitHub OIDC, the access token expires in 60 min",
      expires_in_s: 3600,
    });
  });

  test("listens only when it has a token", async () => {
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    hosts.beforeAnswer = () => {
      if (hosts.openai.requests.length > 0) asked.resolve();
      return hosts.openai.requests.length > 0 ? held.promise : undefined;
    };
    let isListening = false;
    const starting = hosts.proxy().then((proxy) => {
      isListening = true;
      return proxy;
    });
    await within(asked.promise, "the second request");
    expect(isListening).toBe(false);
    held.resolve();
    await starting;
  });

  test.each([
    ["", `?audience=${encodeURIComponent(AUDIENCE)}`],
    ["?", `?audience=${encodeURIComponent(AUDIENCE)}`],
    ["?audience=other&a=b", `?a=b&audience=${encodeURIComponent(AUDIENCE)}`],
  ])("with a request URL that ends in %p", async (search, expected) => {
    const url = hosts.requestUrl.replace(/\?.*/, search);
    const args = hosts.args.map((arg) => arg.replace(/(?<=^--github-oidc-request-url=).*/, url));
    await Proxy.start({ ...hosts.start(), args });
    expect(hosts.github.requests[0]!.first).toBe(`GET /idtoken/1/2${expected} HTTP/1.1`);
  });

  test("the request token may come from --key-file", async () => {
    const file = join(temporaryDirectory(), "token");
    writeFileSync(file, `${REQUEST_TOKEN}\r\n`, { mode: 0o600 });
    chmodSync(file, 0o600);
    await Proxy.start({ ...hosts.start(`--key-file=${file}`), input: "" });
    expect(hosts.github.requests[0]!.fields).toContainEqual(["authorization", `Bearer ${REQUEST_TOKEN}`]);
  });

  test("answers in chunks, with blanks and other members, do as well", async () => {
    hosts.idAnswer = (value) => {
      const text = JSON.stringify({ count: 1, nested: { value: "no" }, value }, null, 2);
      const chunks = [text.slice(0, 50), text.slice(50)].map(
        (part) => `${part.length.toString(16)}\r\n${part}\r\n`,
      );
      return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks.join("")}0\r\n\r\n`;
    };
    hosts.accessAnswer = (token) => json("201 Created", { ...hosts.goodAnswer(token), token_type: "bearer" });
    const proxy = await hosts.proxy();
    await roundTrip(proxy.port, REQUEST);
    expect(hosts.authorizations()).toEqual([`Bearer ${hosts.accessTokens[0]}`]);
  });
});

const PREFIX = "responses-api-proxy: ";
const DOCTOR = `${PREFIX}hint: responses-api-proxy doctor with the same options asks both hosts, without a token\n`;
const PERMISSION = `${PREFIX}hint: the request token is accepted for as long as the job runs\n${PREFIX}hint: in GitHub Actions the job needs permissions: id-token: write\n`;
const MAPPING = `${PREFIX}hint: --oidc-audience, --identity-provider-id and --service-account-id must be the provider's, and the provider must map this workflow to the account\n`;

/** Expects a start to end with this error and these hints, and the upstream to have heard nothing. */
function expectRefused({ exitCode, stdout, stderr }: Ended, why: string, hints = ""): void {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toBe(`${PREFIX}error: no access token: ${why}\n${hints}${DOCTOR}`);
  expect(stderr).not.toContain("qqqq");
  expectNoToken(stderr);
  expect(hosts.upstream.connections).toBe(upstreamConnections);
}
let upstreamConnections = 0;

/** Runs a start that ends, in an environment that says nothing else. */
async function refused(changes: Partial<typeof usual>): Promise<Ended> {
  Object.assign(hosts, changes);
  upstreamConnections = hosts.upstream.connections;
  return await runProgram({ ...hosts.start(), seconds: 20 });
}

describe("no ID token", () => {
  const github = () => `GitHub's ID token host (localhost:${hosts.github.port})`;
  const answers = (answer: (token: string) => string) => refused({ idAnswer: answer as never });

  test.each(["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"])(
    "GitHub refuses: %s",
    async (status) => {
      const ended = await answers(() => json(status, `qqqq ${REQUEST_TOKEN}`));
      expectRefused(ended, `${github()} answers with ${status.slice(0, 3)}`, PERMISSION);
      expect(hosts.openai.requests).toEqual([]);
    },
  );

  test.each([
    "500 Internal Server Error",
    "503 Service Unavailable",
    "429 Too Many Requests",
    "304 Not Modified",
  ])("GitHub fails: %s", async (status) => {
    expectRefused(
      await answers(() => (status.startsWith("304") ? `HTTP/1.1 ${status}\r\n\r\n` : json(status, "qqqq"))),
      `${github()} answers with ${status.slice(0, 3)}`,
    );
  });

  test("a redirect is not followed", async () => {
    const other = new RawUpstream({ tls: hosts.certificate });
    const ended = await answers(
      () => `HTTP/1.1 307 X\r\nLocation: ${other.url}\r\nContent-Length: 0\r\n\r\n`,
    );
    expectRefused(ended, `${github()} answers with 307`);
    expect(other.connections).toBe(0);
  });

  test.each([
    ["no JSON", "<html>qqqq", 'its answer is no JSON object with one "value" in it'],
    ["no value", '{"token":"qqqq"}', 'its answer is no JSON object with one "value" in it'],
    ["two values", '{"value":"qqqq","value":"qqqq"}', 'its answer is no JSON object with one "value" in it'],
    ["an empty value", '{"value":""}', 'its "value" is no bearer token (RFC 6750 b64token)'],
    [
      "a value that is no token",
      '{"value":"qqqq qqqq"}',
      'its "value" is no bearer token (RFC 6750 b64token)',
    ],
    ["too much", `{"value":"${"q".repeat(16_384)}"}`, "its answer is longer than 16384 bytes"],
  ])("GitHub answers with %s", async (_what, body, why) => {
    expectRefused(await answers(() => json("200 OK", body)), `${github()}: ${why}`);
  });

  test("GitHub's answer does not end", async () => {
    const endless = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n${"q".repeat(0x8000)}\r\n`;
    expectRefused(await answers(() => endless), `${github()}: its answer is longer than 16384 bytes`);
  });

  test("GitHub is silent: given up after 10 s", async () => {
    const ended = await refused({ idAnswer: () => undefined as never });
    expectRefused(ended, `${github()} does not answer within 10 s`);
  });

  test("GitHub's answer breaks off, whether that can be seen or not", async () => {
    hosts.closes = true;
    const seen = await answers(() => 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"value":"qqqq');
    expectRefused(seen, `${github()} broke off before its answer could be passed on (ECONNRESET)`);
    const unseen = await answers(() => 'HTTP/1.1 200 OK\r\n\r\n{"value":"qqqq');
    expectRefused(unseen, `${github()}: its answer is no JSON object with one "value" in it`);
  });

  test("nobody is there", async () => {
    const args = hosts.args.map((arg) => arg.replace(/(?<=request-url=).*/, "https://127.0.0.1:1/x"));
    upstreamConnections = hosts.upstream.connections;
    const ended = await runProgram({ ...hosts.start(), args });
    expectRefused(ended, "GitHub's ID token host (127.0.0.1:1) could not be reached (ECONNREFUSED)");
  });

  test("its certificate is another authority's: nothing is sent", async () => {
    const other = trust(await makeAuthority(), temporaryDirectory());
    const before = hosts.github.bytesReceived;
    upstreamConnections = hosts.upstream.connections;
    const ended = await runProgram({ ...hosts.start(), env: other });
    expect(ended.exitCode).toBe(1);
    expect(ended.stderr).toStartWith(
      `${PREFIX}error: no access token: ${github()}'s certificate was refused (`,
    );
    expect(hosts.github.requests).toEqual([]);
    expect(hosts.github.bytesReceived).toBe(before);
  });
});

describe("no access token", () => {
  const openai = () => `the token exchange (localhost:${hosts.openai.port})`;
  const answers = (answer: (token: string) => unknown) => refused({ accessAnswer: answer as never });

  test.each(["400 Bad Request", "401 Unauthorized", "403 Forbidden"])("it is refused: %s", async (status) => {
    // The answer quotes what it was sent.
    const quoting = (_token: string) => json(status, `qqqq ${hosts.openai.requests.at(-1)!.body}`);
    expectRefused(await answers(quoting), `${openai()} answers with ${status.slice(0, 3)}`, MAPPING);
  });

  test("of a refusal, the RFCs' codes are told and nothing else", async () => {
    const body = { error: "invalid_grant", error_description: "qqqq" };
    const known = await answers(() => json("400 Bad Request", body));
    expectRefused(known, `${openai()} answers with 400 (invalid_grant)`, MAPPING);
    const unknown = await answers(() => json("400 Bad Request", { error: "qqqq" }));
    expectRefused(unknown, `${openai()} answers with 400`, MAPPING);
  });

  test.each(["500 Internal Server Error", "502 Bad Gateway", "307 Temporary Redirect"])(
    "it fails: %s",
    async (status) => {
      const other = new RawUpstream({ tls: hosts.certificate });
      const answer = `HTTP/1.1 ${status}\r\nLocation: ${other.url}\r\nContent-Length: 0\r\n\r\n`;
      expectRefused(await answers(() => answer), `${openai()} answers with ${status.slice(0, 3)}`);
      expect(other.connections).toBe(0);
    },
  );

  const TYPE = "its token is of another type than";
  const SECONDS = 'its token has no "expires_in" and "expires_at" in whole seconds';
  test.each([
    [{ issued_token_type: "urn:ietf:params:oauth:token-type:jwt" }, `${TYPE} access_token`],
    [{ token_type: "N_A" }, `${TYPE} Bearer`],
    [{ expires_in: 0 }, "its token has ended already (is this machine's clock right?)"],
    [{ expires_at: 1_000_000_000 }, "its token has ended already (is this machine's clock right?)"],
    [{ expires_in: 3601 }, "its token would live longer than 3600 s"],
    [{ expires_in: undefined }, SECONDS],
    [{ expires_at: undefined }, SECONDS],
    [{ access_token: "qqqq qqqq" }, 'its "access_token" is no bearer token (RFC 6750 b64token)'],
    [{ access_token: undefined }, 'its answer is no JSON object with one "access_token" in it'],
    [{ other: "q".repeat(16_384) }, "its answer is longer than 16384 bytes"],
  ])("it cannot be used: %#", async (changes, why) => {
    const ended = await answers((token) => ({ ...hosts.goodAnswer(token), ...changes }));
    expectRefused(ended, `${openai()}: ${why}`);
  });

  test("the exchange is silent: given up after 10 s", async () => {
    const ended = await refused({ accessAnswer: () => undefined as never });
    expectRefused(ended, `${openai()} does not answer within 10 s`);
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s meanwhile ends it", async (signal) => {
    const asked = Promise.withResolvers<void>();
    hosts.beforeAnswer = () => {
      if (hosts.openai.requests.length > 0) asked.resolve();
      return hosts.openai.requests.length > 0 ? new Promise(() => {}) : undefined;
    };
    const { args, env, input } = hosts.start();
    const child = Bun.spawn([BINARY, ...args!], {
      env: { ...BARE_ENVIRONMENT, ...env },
      stdin: Buffer.from(input as string),
      stdout: "pipe",
      stderr: "pipe",
    });
    await within(asked.promise, "the second request");
    child.kill(signal);
    await within(child.exited, `${signal} to end it`);
    expect(child.exitCode).toBe(1);
    expect(await new Response(child.stderr).text()).toBe(
      `${PREFIX}error: ${signal} came before the access token\n`,
    );
  });
});

describe("no request token", () => {
  const FIRST = `${PREFIX}hint: nothing came before the first newline: is ACTIONS_ID_TOKEN_REQUEST_TOKEN set and exported here, or the file empty?\n${PREFIX}hint: in GitHub Actions the job needs permissions: id-token: write\n`;
  test.each([
    ["", `standard input has no request token in it\n${FIRST}`],
    ["\n", `standard input has no request token in it\n${FIRST}`],
    ["qqqq qqqq\n", "the request token contains a character that no request token has\n"],
    ["q".repeat(5000), "the request token is longer than 4089 bytes\n"],
  ])("standard input has %j", async (input, error) => {
    const { exitCode, stderr } = await runProgram({ ...hosts.start(), input });
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(`${PREFIX}error: ${error}`);
    expect(stderr).not.toContain("qqqq");
    expect(hosts.github.requests).toEqual([]);
  });
});
