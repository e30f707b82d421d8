// The log: what each level shows, in text and in JSON, and what no level shows.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { CANARY_KEY, type Ended, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { as, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { chunk, open, roundTrip, STREAM } from "../harness/wire.ts";

const PROMPT = "canary-prompt-0123456789";
const OWN_KEY = "sk-the-clients-own-0123456789";
const HEAD = `Host: 127.0.0.1\r\nAuthorization: Bearer ${OWN_KEY}\r\nContent-Length: ${PROMPT.length}`;
const REQUEST = `POST /v1/responses HTTP/1.1\r\n${HEAD}\r\n\r\n${PROMPT}`;
const REFUSED = `GET /v1/models?key=${OWN_KEY} HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${PROMPT}\r\n\r\n`;

/** Runs a proxy through an exchange, a refusal and a failure, and ends it. Returns the lines of its standard error. */
async function logOf(...args: string[]): Promise<string[]> {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, "--port=0", ...args] });
  expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
  expect((await roundTrip(proxy.port, REFUSED)).status).toBe(403);
  upstream.answer = (connection: Connection) => connection.reset();
  expect((await roundTrip(proxy.port, REQUEST)).status).toBe(502);
  const { stderr, stdout } = await proxy.stop();
  expect(stdout).toBe("");
  for (const secret of [CANARY_KEY, PROMPT, OWN_KEY]) expect(stderr).not.toContain(secret);
  return withoutStartWarnings(stderr.trimEnd().split("\n"));
}

/**
 * Removes the warnings and hints that follow the protections line. Users other than root get some: memory is not
 * locked, and the executable is readable.
 */
function withoutStartWarnings(lines: string[]): string[] {
  const isProtections = (line: string): boolean => /protections: |"event":"protections"/.test(line);
  const isWarning = (line: string): boolean =>
    /^responses-api-proxy: (warning|hint): |^\{[^{]*"level":"warn"/.test(line);
  const first = lines.findIndex(isProtections) + 1;
  const after = lines.slice(first);
  return [...lines.slice(0, first), ...after.slice(after.findIndex((line) => !isWarning(line)))];
}

describe("--log-level", () => {
  const FAILURE =
    "responses-api-proxy: error: exchange failed: the upstream broke off before its answer could be passed on";
  const TOTALS =
    /^responses-api-proxy: ended after \d s: 2 exchanges \(1 failed\), 1 refused; answers: 1 × 2xx$/;

  test("info, the default: the start, failures, the totals; no exchange that succeeded", async () => {
    const [listening, protections, failure, ending, totals, ...rest] = await logOf();
    expect(listening).toStartWith("responses-api-proxy: listening on http://127.0.0.1:");
    expect(protections).toStartWith("responses-api-proxy: protections: ");
    expect(failure).toStartWith(FAILURE);
    expect(ending).toBe("responses-api-proxy: SIGTERM: ending, 0 exchanges in flight");
    expect(totals).toMatch(TOTALS);
    expect(rest).toEqual([]);
  });

  test("debug: in addition a line per exchange, with how it ended", async () => {
    const [, , done, refused, failure, failed, , totals, ...rest] = await logOf("--log-level=debug");
    expect(done).toMatch(
      /^responses-api-proxy: #1 200, 24 bytes up, 2 down, first byte after \d+ ms, \d+ ms, by user \d+: done$/,
    );
    expect(refused).toBe("responses-api-proxy: 403, GET /v1/models?…: refused: route_refused");
    expect(failure).toStartWith(FAILURE);
    expect(failed).toMatch(/^responses-api-proxy: #2 502, 24 bytes up, 0 down, \d+ ms, by user \d+: failed$/);
    expect(totals).toMatch(TOTALS);
    expect(rest).toEqual([]);
  });
});

/** Returns the content of the server-info file once it exists; `ending` reports a program that ends before. */
async function infoIn(file: string, ending: Promise<Ended>): Promise<{ port: number }> {
  const early = ending.then((ended) => {
    if (!existsSync(file)) throw new Error(`it ended: ${JSON.stringify(ended)}`);
  });
  early.catch(() => {});
  await Promise.race([early, until(() => existsSync(file), file)]);
  return (await Bun.file(file).json()) as { port: number };
}

/** Returns the log of a proxy whose port is known only from its server-info file. */
async function quietLog(level: string, ...more: string[]): Promise<string> {
  const directory = temporaryDirectory();
  const file = `${directory}/info.json`;
  const ending = runProgram({
    args: [
      `--log-level=${level}`,
      "--server-info",
      file,
      "--http-shutdown",
      "--upstream-url=http://127.0.0.1:1/v1/responses",
      ...more,
    ],
    input: `${CANARY_KEY}\n`,
    env: { NOTIFY_SOCKET: `${directory}/nobody` },
  });
  const { port } = await infoIn(file, ending);
  expect((await roundTrip(port, REQUEST)).status).toBe(502);
  expect((await roundTrip(port, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status).toBe(200);
  const { exitCode, stderr } = await ending;
  expect(exitCode).toBe(0);
  return stderr;
}

describe("less than info", () => {
  const FAILURE = /^responses-api-proxy: error: exchange failed: the upstream could not be reached [^\n]*\n$/;

  test("warn: warnings and failures", async () => {
    const lines = (await quietLog("warn")).split(/(?<=\n)/);
    const own = lines.findIndex((line) => line.includes(" the service manager "));
    // The lines before are about the protections, if some are missing.
    for (const line of lines.slice(0, own)) expect(line).toMatch(/^responses-api-proxy: (warning|hint): /);
    const [warning, failure, ...rest] = lines.slice(own);
    expect(warning).toStartWith("responses-api-proxy: warning: the service manager cannot be told");
    expect(failure).toMatch(FAILURE);
    expect(rest).toEqual([]);
  });

  test("error: failures", async () => {
    expect(await quietLog("error")).toMatch(FAILURE);
  });

  test("silent: nothing, except errors at the start", async () => {
    expect(await quietLog("silent")).toBe("");
    const { exitCode, stderr } = await runProgram({ args: ["--log-level=silent"], input: "" });
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(
      "responses-api-proxy: error: standard input has no key in it\nresponses-api-proxy: hint: ",
    );
  });

  test("an unknown level is refused", async () => {
    const { exitCode, stderr } = await runProgram({ args: ["--log-level=trace"] });
    expect(exitCode).toBe(2);
    expect(stderr).toStartWith(
      "responses-api-proxy: error: --log-level must be one of silent, error, warn, info, debug, got 'trace'\n",
    );
  });
});

describe("--log-json", () => {
  type Line = { time: string; level: string; event: string; message: string; [name: string]: unknown };
  const parse = (line: string): Line => JSON.parse(line) as Line;

  test("one object per line, with these field names", async () => {
    const lines = (await logOf("--log-json", "--log-level=debug")).map(parse);
    for (const { time } of lines) expect(new Date(time).toISOString()).toBe(time);
    const shown = lines.map(({ time: _time, message, ...fields }) => {
      expect(message).toBeString();
      return fields;
    });
    const timing = { first_byte_ms: expect.any(Number), duration_ms: expect.any(Number) };
    const bytes = { bytes_up: 24, bytes_down: 2 };
    const exchange = { level: "debug", event: "exchange", by: expect.stringMatching(/^user \d+$/) };
    expect(shown as unknown[]).toEqual([
      {
        level: "info",
        event: "listening",
        port: expect.any(Number),
        pid: expect.any(Number),
        upstream: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/v1\/responses$/),
      },
      { level: "info", event: "protections", held: expect.arrayContaining(["no core"]) },
      { ...exchange, number: 1, status: 200, end: "done", ...bytes, ...timing },
      {
        level: "debug",
        event: "refusal",
        status: 403,
        rule: "route_refused",
        method: "GET",
        path: "/v1/models?…",
      },
      { level: "error", event: "failure", status: 502, code: "upstream_broke_off" },
      {
        ...exchange,
        number: 2,
        status: 502,
        end: "failed",
        cause: "ECONNRESET",
        bytes_up: 24,
        bytes_down: 0,
        ...timing,
        first_byte_ms: null,
      },
      { level: "info", event: "ending", cause: "SIGTERM", in_flight: 0 },
      {
        level: "info",
        event: "totals",
        uptime_s: expect.any(Number),
        exchanges: 2,
        failed: 1,
        refused: 1,
        answers: { "2xx": 1 },
      },
    ]);
  });

  test("errors at the start, too, with their hints", async () => {
    const { stderr } = await runProgram({ args: ["--log-json"], input: "" });
    const [error, ...hints] = stderr.trimEnd().split("\n").map(parse);
    expect(error).toMatchObject({ level: "error", event: "end", message: "standard input has no key in it" });
    expect(hints.length).toBeGreaterThan(0);
    for (const hint of hints) expect(hint).toMatchObject({ level: "error", event: "hint" });
  });
});

test("no field of a request is shown, not even a Host in its URL", async () => {
  const proxy = await Proxy.start({ args: ["--log-level=debug"] });
  for (const host of ["sk-secret-in-host", "sk-secret/in-host", "127.0.0.1/sk-secret", "127.0.0.1:sk-secret"])
    await roundTrip(proxy.port, `GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  await roundTrip(proxy.port, "GET /x HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
  const { stderr } = await proxy.stop();
  expect(stderr).not.toMatch(/secret|in-host/);
  expect(stderr).toContain("403, GET …: refused: ");
  // The neighbour: a request to one of the proxy's own names shows its path.
  expect(stderr).toContain("403, GET /x: refused: route_refused\n");
});

test("the requests of status and wait are not counted as refusals, and get no exchange number", async () => {
  const upstream = new RawUpstream();
  const file = join(temporaryDirectory(), "info.json");
  const args = ["--log-level=debug", "--server-info", file, `--upstream-url=${upstream.url}`];
  const proxy = await Proxy.start({ args });
  for (const command of ["status", "wait"])
    expect((await runProgram({ args: [command, file] })).exitCode).toBe(0);
  await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
  const { stderr } = await proxy.stop();
  expect(stderr).toContain(": #1 200, ");
  expect(stderr).toMatch(/: 1 exchange \(0 failed\), 1 refused; answers: 1 × 2xx\n/);
});

test("an answer whose status no Response can have is passed on, and logged", async () => {
  const upstream = new RawUpstream({ answer: "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi" });
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, "--log-level=debug"] });
  expect(await roundTrip(proxy.port, REQUEST)).toMatchObject({ status: 999, body: "hi" });
  await proxy.waitForLine(/#1 999, 24 bytes up, 0 down, \d+ ms, by user \d+: done\n/);
});

describe("how an exchange ended", () => {
  async function endOf(
    answer: (connection: Connection) => void,
    leaving: "client" | "upstream",
  ): Promise<string> {
    let connection: Connection | undefined;
    const upstream = new RawUpstream({
      answer: (opened) => {
        connection = opened;
        answer(opened);
      },
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, "--log-level=debug"] });
    const wire = await open(proxy.port, REQUEST);
    if (answer !== NEVER) await wire.until(/data/);
    else await until(() => upstream.requests.length > 0, "the request to reach the upstream");
    if (leaving === "client") wire.socket.destroy();
    else connection!.reset();
    const [, how] = await proxy.waitForLine(/#1 [^\n]*: ([a-z ]+)\n/);
    const { stderr } = await proxy.stop();
    // A client that leaves does not make an exchange fail, nor does an answer that breaks off after its start.
    expect(stderr).not.toContain("exchange failed");
    expect(stderr).toContain("1 exchange (0 failed)");
    return how!;
  }
  const NEVER = (): void => {};
  const FIRST = (connection: Connection): void => connection.write(STREAM + chunk("data"));

  test("the client leaves before the answer, and during it", async () => {
    expect(await endOf(NEVER, "client")).toBe("client left");
    expect(await endOf(FIRST, "client")).toBe("client left");
  });

  test("the upstream breaks off during the answer", async () => {
    expect(await endOf(FIRST, "upstream")).toBe("upstream broke off");
  });
});

test("if nobody reads the log, lines are lost, and the proxy still serves", async () => {
  const upstream = new RawUpstream();
  const fifo = join(temporaryDirectory(), "fifo");
  await Bun.spawn(["mkfifo", fifo]).exited;
  const reader = openSync(fifo, constants.O_RDWR);
  const file = join(temporaryDirectory(), "info.json");
  const launcher = ["sh", "-c", `exec "$0" "$@" 2>${fifo}`];
  const args = [
    "--log-level=debug",
    "--server-info",
    file,
    "--http-shutdown",
    `--upstream-url=${upstream.url}`,
  ];
  const ending = runProgram({ args, launcher, input: `${CANARY_KEY}\n` });
  const { port } = await infoIn(file, ending);
  const refused = `GET /${"x".repeat(300)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
  // A pipe holds 64 KiB, and these lines are 260 bytes each.
  for (let round = 0; round < 400; round++) expect((await roundTrip(port, refused)).status).toBe(403);
  const space = Buffer.alloc(65_536);
  const first = space.toString("utf8", 0, readSync(reader, space));
  expect(first).toContain("listening on");
  expect((await roundTrip(port, REQUEST)).status).toBe(200);
  expect((await roundTrip(port, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status).toBe(200);
  expect((await ending).exitCode).toBe(0);
  const rest = space.toString("utf8", 0, readSync(reader, space));
  closeSync(reader);
  expect(rest).toMatch(
    /responses-api-proxy: warning: \d+ lines were not written: nobody read them, or the disk was full\n/,
  );
  expect(rest).toContain("400 refused");
});

test("on a full disk lines are lost and counted, none is joined to another, and the proxy still serves", async () => {
  const directory = temporaryDirectory();
  chmodSync(directory, 0o777);
  const file = join(directory, "log");
  // In units of 512 or 1,024 bytes. The limit ends a line in its middle, as a full disk does.
  const launcher = [...as(ORDINARY), "sh", "-c", 'ulimit -S -f 4; exec "$0" "$@"'];
  const info = join(directory, "info.json");
  const args = [
    "--log-level=debug",
    "--log-json",
    `--log-file=${file}`,
    `--server-info=${info}`,
    "--http-shutdown",
  ];
  const ending = runProgram({
    launcher,
    binary: reachableBinary(UNREADABLE),
    args: [...args, `--upstream-url=${new RawUpstream().url}`],
    input: `${CANARY_KEY}\n`,
  });
  const { port } = await infoIn(info, ending);
  const ask = async (request: string): Promise<number> => (await roundTrip(port, request)).status;
  for (let round = 0; round < 60; round++)
    expect(await ask("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).toBe(403);
  const before = readFileSync(file, "utf8");
  expect(before).not.toEndWith("\n");
  const whole = before.split("\n").slice(0, -1).length;
  // Room again, as logrotate's copytruncate makes it.
  truncateSync(file);
  expect(await ask(REQUEST)).toBe(200);
  expect(await ask("GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).toBe(200);
  expect((await ending).exitCode).toBe(0);
  const [end, ...lines] = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(end).toBe("");
  const events = lines.map((line) => JSON.parse(line) as { event: string; count?: number });
  expect(events.map(({ event }) => event)).toEqual(["lost", "exchange", "ending", "totals"]);
  const refusals = before.match(/"event":"refusal".*\n/g)!.length;
  expect(whole).toBeGreaterThan(refusals);
  expect(events[0]!.count).toBe(60 - refusals);
});

test("no line can be forged: what a client sent is cut, and no control character of it is shown", async () => {
  const proxy = await Proxy.start({ args: ["--log-level=debug"] });
  const ask = async (path: string, host = "127.0.0.1"): Promise<number> =>
    (
      await roundTrip(
        proxy.port,
        `GET ${Buffer.from(path).toString("latin1")} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      )
    ).status;
  expect(await ask(`/${"x".repeat(5000)}`)).toBe(403);
  expect(await ask("/", "a\u009bb\u0085responses-api-proxy: forged")).toBe(403);
  // Bun 1.4.5 answers to some characters by itself, and shows the others in hexadecimal.
  for (const refused of ["\0", "\u0007", "\t", "\n", "\r", "\u001b[31m"])
    expect(await ask(`/a${refused}b`), JSON.stringify(refused)).toBeOneOf([400, 505]);
  for (const shown of ["\u007f", "\u0085", "\u009b31m", "\u00ad", "\u2028", "\u202e"])
    expect(await ask(`/${shown}`), JSON.stringify(shown)).toBe(403);
  const { stderr } = await proxy.stop();
  const [, , long, odd, ...rest] = withoutStartWarnings(stderr.trimEnd().split("\n"));
  expect(long!.length).toBeLessThan(300);
  expect(long).toContain("xxx…: refused: ");
  expect(odd).toMatch(/^responses-api-proxy: 403, GET …: refused: \w+_refused$/u);
  const [ending, totals] = rest.splice(-2);
  expect(ending).toContain("SIGTERM: ending");
  expect(totals).toContain("ended after");
  expect(rest).toEqual(
    ["%7F", "%C2%85", "%C2%9B31m", "%C2%AD", "%E2%80%A8", "%E2%80%AE"].map(
      (path) => `responses-api-proxy: 403, GET /${path}: refused: route_refused`,
    ),
  );
});

test("no line can be forged by a file name", async () => {
  const path = "/proc/a\nresponses-api-proxy: forged\u001b[31m\u202e/info.json";
  const { exitCode, stderr } = await runProgram({ args: ["--server-info", path], input: "sk-x\n" });
  expect(exitCode).toBe(1);
  expect(stderr).toBe(
    "responses-api-proxy: error: cannot write --server-info '/proc/a\\u000aresponses-api-proxy: forged\\u001b[31m\\u202e/info.json' (ENOENT)\n",
  );
});

describe("what the upstream says about the key", () => {
  const PREFIX = "responses-api-proxy: warning: ";
  const json = (code: unknown): string =>
    JSON.stringify({ error: { message: `Incorrect API key provided: ${CANARY_KEY}`, code } });

  const SAID: [status: string, body: string, warning: string | undefined][] = [
    ["401 Unauthorized", json(CANARY_KEY), "the upstream does not accept the key (401)"],
    ["403 Forbidden", json(null), "the upstream does not allow this with the key (403)"],
    ["429 Too Many Requests", json("insufficient_quota"), "the upstream's limit is reached (429)"],
    ["400 Bad Request", json("invalid_request"), undefined],
    ["500 Internal Server Error", json("server_error"), undefined],
  ];
  test.each(SAID)("%s is told once a minute, with nothing of the body", async (status, body, warning) => {
    const fields = `Content-Type: application/json\r\nX-Kept: 1\r\nContent-Length: ${body.length}`;
    const answering = new RawUpstream({
      answer: (connection) => connection.write(`HTTP/1.1 ${status}\r\n${fields}\r\n\r\n${body}`),
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${answering.url}`] });
    for (let count = 0; count < 3; count++) {
      const answer = await roundTrip(proxy.port, REQUEST);
      expect({ status: answer.status, body: answer.body }).toEqual({
        status: Number(status.slice(0, 3)),
        body,
      });
      expect(answer.fields).toContainEqual(["x-kept", "1"]);
    }
    const { stderr } = await proxy.stop();
    const warnings = stderr.split("\n").filter((line) => line.includes("the upstream"));
    expect(warnings).toEqual(warning === undefined ? [] : [PREFIX + warning]);
    expect(stderr).toContain(`(0 failed), 0 refused; answers: 3 × ${status[0]}xx\n`);
    expect(stderr).not.toMatch(/Incorrect|insufficient/);
    expect(stderr).not.toContain(CANARY_KEY);
  });

  test("the answer goes on as it comes: its body is not waited for", async () => {
    const head = STREAM.replace("200 OK", "401 Unauthorized");
    const stalling = new RawUpstream({ answer: (connection) => connection.write(head + chunk("{")) });
    const proxy = await Proxy.start({ args: [`--upstream-url=${stalling.url}`] });
    const wire = await open(proxy.port, REQUEST);
    await wire.until(/\{\r\n$/);
    expect(wire.received).toStartWith("HTTP/1.1 401 ");
  });
});
