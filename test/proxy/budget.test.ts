// --max-requests, --max-concurrent, --rate and --lifetime: what is spent, what is refused and with which words, and what ends.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import OpenAI, { PermissionDeniedError } from "openai";

import { Budget } from "../../src/server/budget.ts";
import { makeAuthority, trust } from "../harness/certificates.ts";
import { Client } from "../harness/clients.ts";
import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { startResponsesApi, WORDS } from "../harness/responses-api.ts";
import { type Connection, OK, RawUpstream } from "../harness/upstream.ts";
import { ALICE, BOB } from "../harness/users.ts";
import {
  type Answer,
  chunk,
  HEAD,
  LAST_CHUNK,
  open,
  REQUEST,
  roundTrip,
  STREAM,
  type Wire,
} from "../harness/wire.ts";

type Served = { proxy: Proxy; upstream: RawUpstream; port: number };

async function serving(...args: string[]): Promise<Served> {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, ...args] });
  return { proxy, upstream, port: proxy.port };
}

/** The connections of requests that the upstream has got and not answered. */
function hold(upstream: RawUpstream): Connection[] {
  const held: Connection[] = [];
  upstream.answer = (connection) => held.push(connection);
  return held;
}

const arrived = (held: Connection[], count: number): Promise<unknown> =>
  until(() => held.length === count, `${count} requests to reach the upstream`);

function expectRefused({ status, body }: Answer, expected: number, code: string, message: string): void {
  expect({ status, body: JSON.parse(body) }).toEqual({
    status: expected,
    body: {
      error: {
        message: `refused by responses-api-proxy: ${message}`,
        type: "proxy_error",
        param: null,
        code,
      },
    },
  });
}

const expectSpent = (answer: Answer): void =>
  expectRefused(answer, 403, "budget_spent", "all requests of --max-requests are spent");
const expectBusy = (answer: Answer): void => {
  expectRefused(answer, 503, "busy", "--max-concurrent requests are in flight; try again later");
  expect(answer.fields).toContainEqual(["retry-after", "1"]);
};
/** Returns the seconds of Retry-After. */
function expectTooFast(answer: Answer): number {
  expectRefused(answer, 429, "rate_limited", "more requests than --rate allows; try again later");
  const after = answer.fields.find(([name]) => name === "retry-after")?.[1];
  expect(after).toMatch(/^[1-9]\d*$/);
  return Number(after);
}

describe("--max-requests", () => {
  test("so many pass, in a row and on one connection, and then none any more", async () => {
    const { upstream, port } = await serving("--max-requests=3");
    for (let count = 0; count < 3; count++) expect((await roundTrip(port, REQUEST)).status).toBe(200);
    for (let count = 0; count < 3; count++) expectSpent(await roundTrip(port, REQUEST));
    expect(upstream.requests).toHaveLength(3);
  });

  test("the log says whom it refused", async () => {
    const { proxy, port } = await serving("--max-requests=1", "--log-level=debug");
    await roundTrip(port, REQUEST);
    await roundTrip(port, REQUEST);
    await proxy.waitForLine(
      new RegExp(`403, POST /v1/responses: refused, by user ${process.getuid!()}: budget_spent\n`),
    );
  });

  test("of many at once exactly so many pass", async () => {
    const { upstream, port } = await serving("--max-requests=7");
    const answers = await Promise.all(Array.from({ length: 40 }, () => roundTrip(port, REQUEST)));
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(7);
    expect(statuses.filter((status) => status === 403)).toHaveLength(33);
    expect(upstream.requests).toHaveLength(7);
  });

  test("what is refused for another reason is not counted, and what fails at the upstream is", async () => {
    const { upstream, port } = await serving("--max-requests=2");
    const refused = [
      "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\n\r\n",
      REQUEST.replace("Host: 127.0.0.1", "Host: evil.test"),
      REQUEST.replace("\r\n\r\n", "\r\nOrigin: https://evil.test\r\n\r\n"),
    ];
    for (const request of refused) expect((await roundTrip(port, request)).status).toBe(403);
    upstream.answer = (connection) => connection.reset();
    expect((await roundTrip(port, REQUEST)).status).toBe(502);
    upstream.answer = OK;
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    expectSpent(await roundTrip(port, REQUEST));
  });

  test("nor what lacks the client token", async () => {
    const file = `${temporaryDirectory()}/token`;
    const { port } = await serving("--max-requests=1", `--client-token=${file}`);
    const bearer = (token: string): string =>
      REQUEST.replace("\r\n\r\n", `\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    for (let count = 0; count < 3; count++) expect((await roundTrip(port, bearer("x"))).status).toBe(401);
    const token = readFileSync(file, "utf8").trim();
    expect((await roundTrip(port, bearer(token))).status).toBe(200);
    expectSpent(await roundTrip(port, bearer(token)));
    // Who has no token does not hear how much is left.
    expect((await roundTrip(port, bearer("x"))).status).toBe(401);
  });

  test.skipIf(lacks("root"))("nor another user's (needs root)", async () => {
    const { port } = await serving("--max-requests=1", `--allow-user=${ALICE}`);
    const [alice, bob] = await Promise.all([Client.as(ALICE).open(port), Client.as(BOB).open(port)]);
    for (let count = 0; count < 3; count++) expect((await bob.ask(REQUEST)).body).toContain("user_refused");
    expect((await alice.ask(REQUEST)).status).toBe(200);
    expectSpent(await alice.ask(REQUEST));
  });

  test("GET /shutdown still ends it, and streams in flight end whole", async () => {
    const { proxy, upstream, port } = await serving("--max-requests=1", "--http-shutdown");
    const held = hold(upstream);
    const wire = await open(port, REQUEST);
    await arrived(held, 1);
    held[0]!.write(STREAM + chunk("one"));
    await wire.until(/one\r\n$/);
    expectSpent(await roundTrip(port, REQUEST));
    expect((await roundTrip(port, "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(200);
    held[0]!.write(chunk("two") + LAST_CHUNK);
    await wire.untilClosed();
    expect(wire.received).toEndWith("two\r\n0\r\n\r\n");
    expect((await proxy.ended()).stderr).toContain("1 exchange (0 failed), 1 refused");
  });

  test("OpenAI's SDK does not try again", async () => {
    const authority = await makeAuthority();
    const api = startResponsesApi({ tls: authority.server });
    const proxy = await Proxy.start({
      args: ["--max-requests=1", `--upstream-url=${api.url}`],
      env: trust(authority, temporaryDirectory()),
    });
    const client = new OpenAI({ baseURL: `${proxy.baseUrl}/v1`, apiKey: "x", maxRetries: 5 });
    const ask = () => client.responses.create({ model: "gpt-5", input: "hello" });
    expect((await ask()).output_text).toBe(WORDS.join(""));
    const refused = await ask().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(PermissionDeniedError);
    expect(refused).toMatchObject({ status: 403, code: "budget_spent" });
    expect((await proxy.stop()).stderr).toContain("1 exchange (0 failed), 1 refused");
    api.stop();
  });
});

describe("--max-concurrent", () => {
  test("beyond it 503; an exchange counts until its last byte", async () => {
    const { upstream, port } = await serving("--max-concurrent=2");
    const held = hold(upstream);
    const wires = [await open(port, REQUEST), await open(port, REQUEST)];
    await arrived(held, 2);
    // Before there is an answer, and while it streams.
    expectBusy(await roundTrip(port, REQUEST));
    for (const connection of held) connection.write(STREAM + chunk("one"));
    for (const wire of wires) await wire.until(/one/);
    expectBusy(await roundTrip(port, REQUEST));
    held[0]!.write(LAST_CHUNK);
    await wires[0]!.until(/\r\n0\r\n\r\n$/);
    upstream.answer = OK;
    await untilServed(port);
    // The other one still streams, and ends whole.
    held[1]!.write(chunk("two") + LAST_CHUNK);
    await wires[1]!.until(/two\r\n0\r\n\r\n$/);
    expect(await Promise.all([roundTrip(port, REQUEST), roundTrip(port, REQUEST)])).toMatchObject([
      { status: 200 },
      { status: 200 },
    ]);
  });

  test("a client that leaves gives its place back", async () => {
    const { upstream, port } = await serving("--max-concurrent=1");
    const held = hold(upstream);
    const wire = await open(port, REQUEST);
    await arrived(held, 1);
    expectBusy(await roundTrip(port, REQUEST));
    wire.socket.destroy();
    upstream.answer = OK;
    await untilServed(port);
  });

  test("an upstream that breaks off, or is not there, does not keep a place", async () => {
    const { upstream, port } = await serving("--max-concurrent=1");
    upstream.answer = (connection) => connection.reset();
    for (let count = 0; count < 3; count++) expect((await roundTrip(port, REQUEST)).status).toBe(502);
    const held = hold(upstream);
    const wire = await open(port, REQUEST);
    await arrived(held, 1);
    held[0]!.write(STREAM + chunk("one"));
    // Seen together with its reset, the answer could be none.
    await wire.until(/one/);
    held[0]!.reset();
    await wire.untilClosed();
    upstream.answer = OK;
    await untilServed(port);
  });

  test("of many at once none is lost: each is served, or told to come again", async () => {
    const { upstream, port } = await serving("--max-concurrent=3");
    const held = hold(upstream);
    const wires = await Promise.all(Array.from({ length: 20 }, () => open(port, REQUEST)));
    const isDone = (wire: Wire): boolean => wire.received.includes('"busy"');
    await until(() => wires.filter(isDone).length === 17, "17 to be refused");
    await arrived(held, 3);
    for (const connection of held) connection.write(OK);
    await Promise.all(wires.filter((wire) => !isDone(wire)).map((wire) => wire.until(/200 OK[^]*ok$/)));
    expect(upstream.requests).toHaveLength(3);
  });

  test("requests that are refused take no place, however slowly they are sent and read", async () => {
    const { port } = await serving("--max-concurrent=1");
    const slow = [
      // Bodies that never come whole, which nobody waits for.
      "POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nhi",
      `${HEAD}Origin: https://evil.test\r\nContent-Length: 1000000\r\n\r\nhi`,
      `${HEAD}Origin: https://evil.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n`,
    ];
    const wires = await Promise.all(slow.map((request) => open(port, request)));
    for (const wire of wires) await wire.until(/HTTP\/1\.1 403/);
    // Heads that never end.
    await open(port, HEAD);
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
  });
});

describe("--rate", () => {
  test("the first ones pass at once, the next 429 until the time is there", async () => {
    const { upstream, port } = await serving("--rate=2/s");
    let passed = 0;
    let answer = await roundTrip(port, REQUEST);
    // As many as fit into the time that this takes.
    for (; answer.status === 200; passed++) answer = await roundTrip(port, REQUEST);
    expect(passed).toBeGreaterThanOrEqual(2);
    expect(expectTooFast(answer)).toBe(1);
    expect(upstream.requests).toHaveLength(passed);
    await untilServed(port);
  });

  test("Retry-After says how long, in whole seconds: a client that waits for it passes", async () => {
    const { port } = await serving("--rate=1/s");
    const began = performance.now();
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    const seconds = expectTooFast(await within(untilRefused(port), "a refusal"));
    await Bun.sleep(1000 * seconds);
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    // One in a second at most, whatever the machine does.
    expect(performance.now() - began).toBeGreaterThanOrEqual(999);
  });

  test.each([
    ["1/m", 60],
    ["1/h", 3600],
  ])("%s: one, and a Retry-After of nearly %d s", async (rate, most) => {
    const { port } = await serving(`--rate=${rate}`);
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    const seconds = expectTooFast(await roundTrip(port, REQUEST));
    expect(seconds).toBeLessThanOrEqual(most);
    expect(seconds).toBeGreaterThan(most - 30);
  });

  test("what is refused, for whatever reason, does not put the next one off", async () => {
    const { port } = await serving("--rate=2/h");
    for (let count = 0; count < 5; count++)
      expect((await roundTrip(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
    for (let count = 0; count < 2; count++) expect((await roundTrip(port, REQUEST)).status).toBe(200);
    const first = expectTooFast(await roundTrip(port, REQUEST));
    for (let count = 0; count < 20; count++) expectTooFast(await roundTrip(port, REQUEST));
    expect(expectTooFast(await roundTrip(port, REQUEST))).toBeLessThanOrEqual(first);
  });
});

describe("together", () => {
  test("who is told to come again has spent nothing", () => {
    const rate = { count: 2, perMs: 3_600_000 };
    const budget = new Budget({ maxRequests: 2, maxConcurrent: 1, rate });
    expect(budget.admit(() => 2)?.code).toBe("busy");
    expect(budget.admit(() => 1)).toBeUndefined();
    expect(budget.admit(() => 2)?.code).toBe("busy");
    expect(budget.admit(() => 1)).toBeUndefined();
    // Spent goes first: coming again is of no use.
    expect(budget.admit(() => 2)?.code).toBe("budget_spent");
    const slow = new Budget({ maxRequests: 2, maxConcurrent: undefined, rate: { ...rate, count: 1 } });
    expect(slow.admit(() => 1)).toBeUndefined();
    for (let count = 0; count < 3; count++) expect(slow.admit(() => 1)?.code).toBe("rate_limited");
  });

  test("a long rest saves up no more than --rate", async () => {
    const rate = { count: 1, perMs: 1000 };
    const budget = new Budget({ maxRequests: undefined, maxConcurrent: undefined, rate });
    await Bun.sleep(3000);
    expect([budget.admit(() => 1), budget.admit(() => 1)?.code]).toEqual([undefined, "rate_limited"]);
  });

  test("without limits everything passes", () => {
    const budget = new Budget({ maxRequests: undefined, maxConcurrent: undefined, rate: undefined });
    for (let count = 0; count < 10_000; count++) expect(budget.admit(() => count)).toBeUndefined();
  });
});

describe("--lifetime", () => {
  test("ends it with exit code 0, and the log says why", async () => {
    const { proxy } = await serving("--lifetime=1s");
    const { exitCode, stdout, stderr } = await proxy.ended();
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "" });
    expect(stderr).toContain("responses-api-proxy: --lifetime: ending, 0 exchanges in flight\n");
    expect(stderr).toContain("0 exchanges (0 failed), 0 refused");
  });

  test("a stream in flight ends whole", async () => {
    const { proxy, upstream, port } = await serving("--lifetime=2s", "--log-json");
    const held = hold(upstream);
    const wire = await open(port, REQUEST);
    await arrived(held, 1);
    held[0]!.write(STREAM + chunk("one"));
    const [line] = await proxy.waitForLine(/^.*"event":"ending".*$/m);
    expect(JSON.parse(line)).toMatchObject({ cause: "--lifetime", in_flight: 1 });
    held[0]!.write(chunk("two") + LAST_CHUNK);
    await wire.untilClosed();
    expect(wire.received).toEndWith("one\r\n3\r\ntwo\r\n0\r\n\r\n");
    expect((await proxy.ended()).exitCode).toBe(0);
  });

  test("a stream that takes longer than --shutdown-timeout is broken off; a signal does not wait", async () => {
    for (const how of ["timeout", "signal"]) {
      const timeout = how === "timeout" ? "1s" : "1h";
      const { proxy, upstream, port } = await serving("--lifetime=2s", `--shutdown-timeout=${timeout}`);
      const held = hold(upstream);
      const wire = await open(port, REQUEST);
      await arrived(held, 1);
      held[0]!.write(STREAM + chunk("one"));
      await proxy.waitForLine(/--lifetime: ending, 1 exchange in flight/);
      if (how === "signal") proxy.signal("SIGTERM");
      await wire.untilClosed();
      expect(wire.received).not.toEndWith(LAST_CHUNK);
      expect((await proxy.ended()).exitCode).toBe(0);
    }
  });

  test("one longer than a timer can be is no short one", async () => {
    // 2^31 ms are 24.9 days: a timer of more fires at once.
    const { proxy, port } = await serving("--lifetime=8760h");
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    expect((await proxy.stop()).stderr).toContain("SIGTERM: ending");
  });
});

test("SIGUSR1: the totals so far, each time, and nothing else changes", async () => {
  const { proxy, upstream, port } = await serving("--max-requests=2", "--log-json");
  const totals = async (nth: number): Promise<object> => {
    const lines = (): string[] => proxy.stderr.match(/^.*"event":"totals".*$/gm) ?? [];
    await until(() => lines().length === nth, `${nth} lines of totals`, { seen: () => proxy.stderr });
    return JSON.parse(lines()[nth - 1]!);
  };
  proxy.signal("SIGUSR1");
  expect(await totals(1)).toMatchObject({ exchanges: 0, failed: 0, refused: 0 });
  await roundTrip(port, REQUEST);
  upstream.answer = (connection) => connection.reset();
  await roundTrip(port, REQUEST);
  await roundTrip(port, REQUEST);
  proxy.signal("SIGUSR1");
  expect(await totals(2)).toMatchObject({ exchanges: 2, failed: 1, refused: 1 });
  const { exitCode } = await proxy.stop();
  expect(exitCode).toBe(0);
  expect(await totals(3)).toMatchObject({ exchanges: 2, failed: 1, refused: 1 });
});

test("SIGUSR1 in words", async () => {
  const { proxy } = await serving();
  proxy.signal("SIGUSR1");
  await proxy.waitForLine(/^responses-api-proxy: running for \d+ s: 0 exchanges \(0 failed\), 0 refused$/m);
  expect((await proxy.stop()).stderr).toMatch(/ended after \d+ s: 0 exchanges/);
});

/** Until a request passes: a place or a time that is given back is free a moment later. */
async function untilServed(port: number): Promise<void> {
  const passes = async (): Promise<boolean> => (await roundTrip(port, REQUEST)).status === 200;
  await until(passes, "a request to pass");
}

/** The first answer that is not 200. */
async function untilRefused(port: number): Promise<Answer> {
  for (;;) {
    const answer = await roundTrip(port, REQUEST);
    if (answer.status !== 200) return answer;
  }
}
