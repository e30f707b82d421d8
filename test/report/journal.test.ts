// If standard error really is the journal, lines have a priority in place of the name; and one line says why the program ends.

import { describe, expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { BARE_ENVIRONMENT, BINARY, CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { open, roundTrip } from "../harness/wire.ts";

const REQUEST = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi";

/** Runs the program with a file as standard error and `stream` as JOURNAL_STREAM. Returns the file's lines. */
async function linesFor(
  stream: (device: number, inode: number) => string | undefined,
  args: string[],
  input: string,
): Promise<string[]> {
  const path = join(temporaryDirectory(), "journal");
  const fd = openSync(path, "w");
  const { dev, ino } = fstatSync(fd);
  const named = stream(dev, ino);
  const child = Bun.spawn([BINARY, ...args], {
    stdin: Buffer.from(input),
    stdout: "ignore",
    stderr: fd,
    env: {
      ...BARE_ENVIRONMENT,
      NOTIFY_SOCKET: join(temporaryDirectory(), "nobody"),
      ...(named === undefined ? {} : { JOURNAL_STREAM: named }),
    },
  });
  closeSync(fd);
  if (input !== "") {
    const listening = /listening on http:\/\/127\.0\.0\.1:(\d+)/;
    let port: string | undefined;
    while ((port = listening.exec(readFileSync(path, "utf8"))?.[1]) === undefined) await Bun.sleep(2);
    expect((await roundTrip(Number(port), REQUEST)).status).toBe(502);
    child.kill("SIGTERM");
  }
  await child.exited;
  return readFileSync(path, "utf8").trimEnd().split("\n");
}

const isIt = (device: number, inode: number): string => `${device}:${inode}`;
const NOWHERE = ["--upstream-url=http://127.0.0.1:1/v1/responses", "--log-level=debug"];
const KEY = `${CANARY_KEY}\n`;

describe("JOURNAL_STREAM", () => {
  test("that is standard error: each line has a priority, and no name", async () => {
    const lines = await linesFor(isIt, NOWHERE, KEY);
    for (const line of lines) expect(line).toMatch(/^<[3467]>/);
    for (const line of lines) expect(line).not.toContain("responses-api-proxy:");
    const starts: [priority: number, text: string][] = [
      [6, "listening on http://127.0.0.1:"],
      [6, "protections: "],
      [4, "warning: the service manager cannot be told"],
      [3, "error: exchange failed: "],
      [7, "#1 502"],
      [6, "SIGTERM: ending, 0 exchanges in flight"],
      [6, "ended after "],
    ];
    for (const [priority, text] of starts)
      expect(lines.filter((line) => line.startsWith(`<${priority}>${text}`)).length).toBeGreaterThan(0);
  });

  test("as JSON: the priority, which the journal takes off, and then the object", async () => {
    const lines = await linesFor(isIt, [...NOWHERE, "--log-json"], KEY);
    const LEVELS: Record<string, string> = { error: "<3>", warn: "<4>", info: "<6>", debug: "<7>" };
    for (const line of lines)
      expect(line.slice(0, 3)).toBe(LEVELS[(JSON.parse(line.slice(3)) as { level: string }).level]!);
  });

  test("errors at the start have a priority, too, on the command line or later", async () => {
    expect(await linesFor(isIt, NOWHERE, "")).toEqual([
      "<3>error: standard input has no key in it",
      expect.stringMatching(/^<3>hint: nothing came/),
      expect.stringMatching(/^<3>hint: in GitHub Actions/),
    ]);
    expect(await linesFor(isIt, ["--no-such-flag"], "")).toEqual(
      expect.arrayContaining([expect.stringMatching(/^<3>error: /)]),
    );
  });

  test.each([
    ["of another file", (device: number, inode: number) => `${device}:${inode + 1}`],
    ["of another device", (device: number, inode: number) => `${device + 1}:${inode}`],
    ["that is invalid", () => "journal"],
    ["that is not set", () => undefined],
  ])("%s: lines have the name as usual", async (_name, stream) => {
    for (const line of await linesFor(stream, NOWHERE, KEY))
      expect(line).toStartWith("responses-api-proxy: ");
  });
});

describe("why it ends, and what is in flight", () => {
  async function endingWith(end: (proxy: Proxy) => unknown): Promise<string> {
    const held: (() => void)[] = [];
    const upstream = new RawUpstream({
      answer: (connection) =>
        void held.push(() => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, "--http-shutdown"] });
    const wires = [await open(proxy.port, REQUEST), await open(proxy.port, REQUEST)];
    // Two exchanges in flight, and a connection that waits for its next request.
    while (upstream.requests.length < 2) await Bun.sleep(2);
    const idle = await open(proxy.port, REQUEST.replace("/v1/responses", "/elsewhere"));
    await idle.until(/403/);
    await end(proxy);
    const [line] = await proxy.waitForLine(/[^\n]*: ending[^\n]*/);
    for (const answer of held) answer();
    for (const wire of wires) expect(await wire.until(/ok$/)).toStartWith("HTTP/1.1 200");
    expect((await proxy.ended()).exitCode).toBe(0);
    return line;
  }

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s", async (signal) => {
    expect(await endingWith((proxy) => proxy.signal(signal))).toBe(
      `responses-api-proxy: ${signal}: ending, 2 exchanges in flight`,
    );
  });

  test("GET /shutdown, which does not count as an exchange", async () => {
    const shutdown = "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    expect(await endingWith((proxy) => roundTrip(proxy.port, shutdown))).toBe(
      "responses-api-proxy: GET /shutdown: ending, 2 exchanges in flight",
    );
  });
});
