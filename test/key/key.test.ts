// The key on standard input: what is accepted, what is refused, and that no message repeats a byte of it.

import { describe, expect, test } from "bun:test";
import { constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";

import { ptr } from "../../native/ffi/libc.ts";
import { SecretPages } from "../../native/process/memory.ts";
import { Authorization } from "../../src/key/authorization.ts";
import { readKey } from "../../src/key/key.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { Pipe } from "../harness/pipe.ts";
import { awaitsKey, BINARY, CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

/** The number that the second start maps. */
const PAGES_BYTES = 8192;
const MOST = PAGES_BYTES / 2 - "Bearer ".length;

/** Reads a key from these pieces: one for each read(2), then the end of input. */
async function read(...pieces: string[]): Promise<string> {
  const authorization = await readKey(new SecretPages(PAGES_BYTES), (space) => {
    const piece = Buffer.from(pieces.shift() ?? "", "latin1").subarray(0, space.length);
    space.set(piece);
    return piece.length;
  });
  return authorization.exposeForUpstream();
}

const ACCEPTED: [name: string, pieces: string[], key: string][] = [
  ["without a newline", ["sk-abc"], "sk-abc"],
  ["with LF", ["sk-abc\n"], "sk-abc"],
  ["with CR LF", ["sk-abc\r\n"], "sk-abc"],
  ["with CR at the end", ["sk-abc\r\r"], "sk-abc"],
  ["in short reads", ["s", "k", "-abc", "\n"], "sk-abc"],
  ["with CR and LF in different reads", ["sk-abc\r", "\n"], "sk-abc"],
  ["up to the first newline", ["sk-abc\nsk-other\n"], "sk-abc"],
  ["every character of b64token", ["AZaz09-._~+/=="], "AZaz09-._~+/=="],
  ["the longest", [`${"a".repeat(MOST)}\r\n`], "a".repeat(MOST)],
];

describe("accepted", () => {
  test.each(ACCEPTED)("%s", async (_name, pieces, key) => {
    expect(await read(...pieces)).toBe(`Bearer ${key}`);
  });

  test("an error that readSome throws is passed on after the pages are wiped", async () => {
    let address = "";
    const reading = () =>
      readKey(new SecretPages(PAGES_BYTES), (space) => {
        address = Math.floor(ptr(space) / 4096).toString(16);
        expect(readFileSync("/proc/self/maps", "latin1")).toContain(`${address}000-`);
        space.set(Buffer.from("sk-abc"));
        throw new RangeError("boom");
      });
    expect(await reading().catch((error: unknown) => error)).toEqual(new RangeError("boom"));
    expect(readFileSync("/proc/self/maps", "latin1")).not.toContain(`${address}000-`);
  });
});

const PIPE_IT_IN = "pipe the key in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy";
const WRONG_CHARACTER = "the key contains a character that no key has";

const REFUSED: [name: string, input: string | Uint8Array, message: string][] = [
  ["nothing", "", "standard input has no key in it"],
  ["an empty line", "\n", "standard input has no key in it"],
  ["CR LF only", "\r\n", "standard input has no key in it"],
  ["one byte too long", "q".repeat(MOST + 1), `the key is longer than ${MOST} bytes`],
  ["much too long", "q".repeat(100_000), `the key is longer than ${MOST} bytes`],
  ["a blank in it", "qqqq qqqq\n", WRONG_CHARACTER],
  ["a blank before it", " qqqqqqqq\n", WRONG_CHARACTER],
  ["quotes around it", '"qqqqqqqq"\n', WRONG_CHARACTER],
  ["CR in the middle", "qqqq\rqqqq\n", WRONG_CHARACTER],
  ["NUL", "qqqq\0qqqq\n", WRONG_CHARACTER],
  ["UTF-8", "qqqqéqqqq\n", WRONG_CHARACTER],
  ["a byte that is not UTF-8", new Uint8Array([0x71, 0x71, 0xff, 0x71]), WRONG_CHARACTER],
  ["= in the middle", "qqqq=qqqq\n", WRONG_CHARACTER],
  ["= alone", "=\n", WRONG_CHARACTER],
  ["an assignment", "OPENAI_API_KEY=qqqqqqqq\n", WRONG_CHARACTER],
];

describe("refused with exit code 1", () => {
  test.each(REFUSED)("%s", async (_name, input, message) => {
    const { exitCode, stdout, stderr } = await runProgram({ input });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(`responses-api-proxy: error: ${message}`);
    expect(stderr).not.toContain("qqqq");
  });

  test.skipIf(lacks("script"))("a terminal (needs script)", async () => {
    // script(1) gives the program a terminal of its own.
    const args = ["-qec", `'${BINARY}'`, "/dev/null"];
    expect(await runProgram({ binary: "script", args })).toMatchObject({
      exitCode: 1,
      stdout: `responses-api-proxy: error: standard input is a terminal, and a key must not be typed\r\nresponses-api-proxy: hint: ${PIPE_IT_IN}\r\n`,
    });
  });

  test.each([
    ["closed", "<&-"],
    ["a directory", "</tmp"],
  ])("standard input that is %s", async (_what, redirection) => {
    const { exitCode, stderr } = await runProgram({
      launcher: ["sh", "-c", `exec "$0" "$@" ${redirection}`],
    });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^responses-api-proxy: error: standard input (cannot be read \(read: E[A-Z]+\)|has no key in it)\n/,
    );
  });
});

test.skipIf(lacks("/proc without hidepid"))(
  "a slow writer is waited for, also on a non-blocking pipe (needs /proc without hidepid)",
  async () => {
    const upstream = new RawUpstream();
    const pipe = new Pipe();
    const pidFile = join(temporaryDirectory(), "pid");
    const starting = Proxy.start({
      input: pipe.reader,
      launcher: ["sh", "-c", `echo $$ >${pidFile}; exec "$0" "$@"`],
      args: [`--upstream-url=${upstream.url}`],
    });
    pipe.doNotBlock();
    const pid = await until(
      () => existsSync(pidFile) && Number(readFileSync(pidFile, "utf8")),
      "a process ID",
    );
    for (const piece of [CANARY_KEY.slice(0, 20), CANARY_KEY.slice(20), "\n"]) {
      await until(
        () => pipe.unread() === 0 && awaitsKey(Number(pid)),
        "the program to wait for more of the key",
      );
      const [, flags] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pipe.reader}`, "utf8"))!;
      expect(Number.parseInt(flags!, 8) & constants.O_NONBLOCK).toBe(constants.O_NONBLOCK);
      pipe.write(piece);
    }
    const proxy = await starting;
    await roundTrip(proxy.port, REQUEST);
    expect(upstream.requests[0]!.fields).toContainEqual(["authorization", `Bearer ${CANARY_KEY}`]);
  },
);

test("the key shows as [redacted] wherever a value can be printed by accident", () => {
  const authorization = new Authorization("Bearer sk-secret");
  const shown = [
    String(authorization),
    `${authorization}`,
    JSON.stringify({ authorization }),
    inspect(authorization),
    inspect({ authorization }, { showHidden: true, depth: null }),
    Bun.inspect(authorization),
    Bun.inspect({ authorization }),
    JSON.stringify(Object.entries(authorization)),
    JSON.stringify(structuredClone({ ...authorization })),
  ];
  for (const text of shown) expect(text).not.toContain("secret");
  for (const show of [String, inspect, Bun.inspect]) expect(show(authorization)).toBe("[redacted]");
  expect(JSON.stringify({ authorization })).toBe('{"authorization":"[redacted]"}');
  expect(authorization.exposeForUpstream()).toBe("Bearer sk-secret");
});

test("the first request carries the key exactly once", async () => {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`] });
  await roundTrip(proxy.port, REQUEST);
  const values = upstream.requests[0]!.fields.flat().filter((text) => text.includes(CANARY_KEY));
  expect(values).toEqual([`Bearer ${CANARY_KEY}`]);
});
