// --dump-dir: the files' content, owner and mode, and that writing them never disturbs an exchange.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { ALICE, BOB, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { chunk, HEAD, LAST_CHUNK, open, roundTrip, STREAM } from "../harness/wire.ts";

type Dumped = { headers: { name: string; value: string }[]; body: unknown; [name: string]: unknown };

const upstream = new RawUpstream();

async function start(directory: string, ...more: string[]): Promise<Proxy> {
  return Proxy.start({ args: [`--dump-dir=${directory}`, `--upstream-url=${upstream.url}`, ...more] });
}

const request = (body: string, fields = ""): string =>
  `${HEAD}${fields}Content-Length: ${body.length}\r\n\r\n${body}`;

const answer = (body: string, fields = ""): string =>
  `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;

const names = (directory: string): string[] => readdirSync(directory).sort();

/** Returns the one file whose name ends with `end`, parsed. Expects its newline at the end. */
function dumped(directory: string, end: string): Dumped {
  const [name, ...others] = names(directory).filter((file) => file.endsWith(end));
  expect(others).toEqual([]);
  const text = readFileSync(join(directory, name!), "utf8");
  expect(text).toEndWith("\n}\n");
  return JSON.parse(text) as Dumped;
}

describe("an exchange", () => {
  test("is two files, with the fields and names that tools expect", async () => {
    const directory = join(temporaryDirectory(), "made/dump");
    const proxy = await start(directory);
    upstream.answer = answer(
      '{"id":"resp_1","output":[]}',
      "Content-Type: application/json\r\nSet-Cookie: session\r\n",
    );
    const fields =
      "Authorization: Bearer sk-own\r\nApi-Key: a\r\nX-Api-Key: b\r\nCookie: c=d\r\nX-Other: kept\r\n";
    const before = Date.now();
    expect((await roundTrip(proxy.port, request('{"model":"gpt-5","input":"hi"}', fields))).status).toBe(200);
    const { exitCode, stderr } = await proxy.stop();
    expect(exitCode).toBe(0);
    expect(stderr).toContain(
      `warning: every request and answer is written to ${directory}, prompts included\n`,
    );

    const [first, second, ...others] = names(directory);
    expect(others).toEqual([]);
    const [, milliseconds] = /^000001-(\d+)-request\.json$/.exec(first!)!;
    expect(second).toBe(`000001-${milliseconds}-response.json`);
    expect(Math.abs(Number(milliseconds) - before)).toBeLessThan(10_000);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    for (const name of [first!, second!]) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);

    const { headers, ...head } = dumped(directory, "-request.json");
    expect(head).toEqual({ method: "POST", url: "/v1/responses", body: { model: "gpt-5", input: "hi" } });
    const value = (list: Dumped["headers"], name: string) => list.find((field) => field.name === name)?.value;
    for (const name of ["authorization", "api-key", "x-api-key", "cookie"])
      expect(value(headers, name)).toBe("[REDACTED]");
    expect(value(headers, "x-other")).toBe("kept");

    const { headers: answered, ...rest } = dumped(directory, "-response.json");
    expect(rest).toEqual({ status: 200, body: { id: "resp_1", output: [] } });
    expect(value(answered, "set-cookie")).toBe("[REDACTED]");
    expect(value(answered, "content-type")).toBe("application/json");
    for (const name of names(directory))
      expect(readFileSync(join(directory, name), "utf8")).not.toContain(CANARY_KEY);
  });

  test("whose Host passes and makes no URL is dumped like any other", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const proxy = await start(directory);
    upstream.answer = answer("ok");
    const odd = request("hi").replace("Host: 127.0.0.1", "Host: 127.0.0.1:99999");
    expect(await roundTrip(proxy.port, odd)).toMatchObject({ status: 200, body: "ok" });
    expect((await proxy.stop()).stderr).toContain("1 exchange (0 failed)");
    expect(dumped(directory, "-request.json")).toMatchObject({ url: "/v1/responses", body: "hi" });
  });

  const zstd = Bun.zstdCompressSync(Buffer.from('{"input":"hi"}'));
  const large = "é".repeat(400_000);
  test.each<[string, Buffer, unknown]>([
    ["no body", Buffer.alloc(0), ""],
    ["text", Buffer.from('data: "quoted" \\ \u0001\n\n'), 'data: "quoted" \\ \u0001\n\n'],
    ["a number", Buffer.from("17"), 17],
    ["bytes that are not text (zstd)", zstd, { base64: zstd.toString("base64") }],
    ["text longer than a piece, its characters cut by pieces", Buffer.from(`x${large}`), `x${large}`],
    ["JSON of more than a megabyte", Buffer.from(`["${"y".repeat(1_100_000)}"]`), ["y".repeat(1_100_000)]],
    ["a number of more than a megabyte, as text", Buffer.from("7".repeat(1_100_000)), "7".repeat(1_100_000)],
    ["many bytes", Buffer.alloc(100_001, 255), { base64: Buffer.alloc(100_001, 255).toString("base64") }],
  ])("whose bodies are %s", async (_what, bytes, body) => {
    const directory = join(temporaryDirectory(), "dump");
    const proxy = await start(directory);
    upstream.answer = answer(bytes.toString("latin1"));
    const answered = await roundTrip(proxy.port, request(bytes.toString("latin1")));
    expect(Buffer.from(answered.body, "latin1").equals(bytes)).toBe(true);
    await proxy.stop();
    expect(dumped(directory, "-request.json").body).toEqual(body);
    expect(dumped(directory, "-response.json").body).toEqual(body);
    expect(names(directory)).toHaveLength(2);
  });
});

describe("a body that is JSON", () => {
  const AS_SENT: [what: string, body: string][] = [
    [
      "numbers, repeated names, blanks",
      '{"a":12345678901234567890, "b":1e999 ,"b":[ ],\n"c":"x { , : \\" \\\\"}',
    ],
    ["escapes", `{"input":"${"\\n\\u00e9".repeat(50_000)}"}`],
    [
      "numbers at a depth that indenting would multiply",
      `${"[".repeat(11)}${"1,".repeat(100_000)}1${"]".repeat(11)}`,
    ],
  ];
  test.each(AS_SENT)("stays as it was sent, and as large: %s", async (_what, body) => {
    const directory = join(temporaryDirectory(), "dump");
    const proxy = await start(directory);
    upstream.answer = answer("ok");
    await roundTrip(proxy.port, request(body));
    await proxy.stop();
    const [name] = names(directory).filter((file) => file.endsWith("-request.json"));
    const text = readFileSync(join(directory, name!), "utf8");
    expect(text).toEndWith(`"body": ${body}\n}\n`);
    expect(text.length).toBeLessThan(body.length + 2000);
    JSON.parse(text);
  });

  test("nested too deep to indent is kept as text", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const proxy = await start(directory);
    upstream.answer = answer("ok");
    const deep = `${"[".repeat(20_000)}1,2${"]".repeat(20_000)}`;
    await roundTrip(proxy.port, request(deep));
    await proxy.stop();
    expect(dumped(directory, "-request.json").body).toBe(deep);
  });
});

test("streams go on while large bodies are finished: no gap longer than without a dump", async () => {
  /** Returns the longest time between two events that reach a client, while another client's bodies are dumped. */
  async function longestGap(...flags: string[]): Promise<number> {
    let isOver = false;
    const busy = new RawUpstream({
      answer: (connection, { body }) => {
        if (body.length > 2) return connection.write(answer("ok"));
        connection.write(STREAM);
        const timer = setInterval(() => (isOver ? clearInterval(timer) : connection.write(EVENT(1))), 5);
      },
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${busy.url}`, ...flags] });
    const wire = await open(proxy.port, request("{}"));
    await wire.until(/data: 1/);
    let longest = 0;
    let seen = performance.now();
    wire.socket.on("data", () => {
      longest = Math.max(longest, performance.now() - seen);
      seen = performance.now();
    });
    const escapes = request(`{"input":"${"\\n".repeat(500_000)}"}`);
    for (let count = 0; count < 4; count++) await roundTrip(proxy.port, escapes);
    const finished = (): number => names(flags[0]!.slice(11)).filter((name) => name.endsWith(".json")).length;
    if (flags.length > 0) await until(() => finished() >= 8, "the dumps to be finished");
    isOver = true;
    wire.socket.destroy();
    await proxy.stop();
    return longest;
  }
  const without = await longestGap();
  const dumping = await longestGap(`--dump-dir=${join(temporaryDirectory(), "dump")}`);
  // Finishing such a body in one go took 1.6 s of processor time.
  expect(dumping).toBeLessThan(without + 1000);
});

const EVENT = (n: number): string => chunk(`data: ${n}\n\n`);

describe("a stream", () => {
  /** Starts a stream and waits for its first event. Returns the connections to go on with. */
  async function stream(directory: string, ...more: string[]) {
    const begun = Promise.withResolvers<Connection>();
    upstream.answer = (connection) => {
      connection.write(STREAM + EVENT(1));
      begun.resolve(connection);
    };
    const proxy = await start(directory, ...more);
    const wire = await open(proxy.port, request("{}"));
    await wire.until(/data: 1/);
    return { proxy, wire, connection: await within(begun.promise, "the request to reach the upstream") };
  }

  test("reaches the client at once, and the disk as it comes; whole at the end", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const { proxy, wire, connection } = await stream(directory);
    const [part] = names(directory).filter((name) => name.endsWith("-response.part"));
    expect(readFileSync(join(directory, part!), "utf8")).toBe("data: 1\n\n");
    expect(statSync(join(directory, part!)).mode & 0o777).toBe(0o600);
    expect(dumped(directory, "-request.json").body).toEqual({});
    connection.write(EVENT(2));
    await wire.until(/data: 2/);
    connection.write(LAST_CHUNK);
    await wire.until(/0\r\n\r\n/);
    await proxy.stop();
    expect(dumped(directory, "-response.json").body).toBe("data: 1\n\ndata: 2\n\n");
    expect(names(directory)).toHaveLength(2);
  });

  test("that the upstream breaks off is broken off to the client, and keeps what came", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const { proxy, wire, connection } = await stream(directory);
    connection.reset();
    expect(await wire.untilClosed()).toBe("reset");
    await proxy.stop();
    expect(dumped(directory, "-response.json").body).toBe("data: 1\n\n");
  });

  test("that the client leaves keeps what came, and the upstream's connection is closed", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const { proxy, wire } = await stream(directory);
    const closed = new Promise<void>((resolve) => (upstream.onClose = resolve));
    wire.socket.destroy();
    await within(closed, "the upstream's connection to be closed");
    await proxy.stop();
    expect(dumped(directory, "-response.json").body).toBe("data: 1\n\n");
  });

  test("that is cut at --shutdown-timeout keeps what came", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const { proxy } = await stream(directory, "--shutdown-timeout=0");
    expect((await proxy.stop()).exitCode).toBe(0);
    expect(dumped(directory, "-response.json").body).toBe("data: 1\n\n");
    expect(names(directory)).toHaveLength(2);
  });

  test("an upload that streams is dumped, too", async () => {
    const directory = join(temporaryDirectory(), "dump");
    const proxy = await start(directory);
    upstream.answer = answer("ok");
    const head = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
    await roundTrip(proxy.port, head + chunk("abc") + chunk("def") + LAST_CHUNK);
    await proxy.stop();
    expect(dumped(directory, "-request.json").body).toBe("abcdef");
  });
});

test.skipIf(lacks("root", "mount namespaces"))(
  "a full disk costs the dump and a warning, not the exchange (needs root, mount namespaces)",
  async () => {
    const directory = join(temporaryDirectory(), "small");
    mkdirSync(directory);
    expect(
      Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", directory]).exitCode,
    ).toBe(0);
    try {
      const proxy = await start(directory);
      const body = "z".repeat(200_000);
      upstream.answer = answer(body);
      for (let round = 0; round < 3; round++)
        expect((await roundTrip(proxy.port, request(body))).body).toBe(body);
      upstream.answer = answer("small");
      expect((await roundTrip(proxy.port, request("small"))).body).toBe("small");
      const { exitCode, stderr } = await proxy.stop();
      expect(exitCode).toBe(0);
      expect(
        stderr.match(/warning: an exchange is not dumped \(000001-\d+-request: ENOSPC\)\n/g),
      ).toHaveLength(1);
      expect(stderr.match(/is not dumped/g)).toHaveLength(1);
      // The dumps that were given up are removed, so later ones have room.
      expect(names(directory).map((name) => name.replace(/-\d+/, ""))).toEqual([
        "000004-request.json",
        "000004-response.json",
      ]);
    } finally {
      Bun.spawnSync(["umount", "--lazy", directory]);
    }
  },
);

test("more at once than can be finished: those beyond 2,000 are given up with one warning, and leave nothing", async () => {
  // In memory: after thousands of deletions ext4 searches up to a millisecond for the place of each new file.
  const directory = join(temporaryDirectory(existsSync("/dev/shm") ? "/dev/shm" : "/tmp"), "dump");
  const dumper = [`${import.meta.dir}/../harness/dumper.ts`, directory, "2010"];
  const { exitCode, stderr } = await runProgram({ binary: process.execPath, args: dumper, seconds: 30 });
  expect(stderr).toMatch(
    /^responses-api-proxy: warning: an exchange is not dumped \(002001-\d+-request: too many at once\)\n$/,
  );
  expect(exitCode).toBe(0);
  const left = names(directory);
  expect(left).toHaveLength(2000);
  expect(left.filter((name) => !name.endsWith("-request.json"))).toEqual([]);
});

describe("the directory", () => {
  const refused = async (directory: string): Promise<string> => {
    const { exitCode, stderr } = await runProgram({
      args: [`--dump-dir=${directory}`],
      input: `${CANARY_KEY}\n`,
    });
    expect(exitCode).toBe(1);
    const [first] = stderr.split("\n");
    const start = `responses-api-proxy: error: cannot write --dump-dir '${directory}': `;
    expect(first).toStartWith(start);
    return first!.slice(start.length);
  };

  test.each([0o755, 0o770, 0o701])("that others have rights to is refused (%o)", async (mode) => {
    const directory = join(temporaryDirectory(), "dump");
    mkdirSync(directory);
    chmodSync(directory, mode);
    expect(await refused(directory)).toBe("others have rights to it");
  });

  test("that is a file or a symlink is refused", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "file"), "");
    mkdirSync(join(directory, "real"), { mode: 0o700 });
    symlinkSync(join(directory, "real"), join(directory, "link"));
    expect(await refused(join(directory, "file"))).toBe("it is a file");
    expect(await refused(join(directory, "link"))).toBe("it is a symlink");
  });

  test.skipIf(lacks("root"))(
    "that is another user's, or in another user's directory, is refused (needs root)",
    async () => {
      const directory = join(temporaryDirectory(), "dump");
      mkdirSync(directory, { mode: 0o700 });
      chownSync(directory, BOB, BOB);
      expect(await refused(directory)).toBe(`it is user ${BOB}'s`);
      expect(await refused(join(directory, "in"))).toBe(`the directory ${directory} is user ${BOB}'s`);
    },
  );

  test.skipIf(lacks("root"))("is made as the user that --user names (needs root)", async () => {
    const parent = temporaryDirectory();
    chownSync(parent, ALICE, ALICE);
    const proxy = await Proxy.start({
      binary: reachableBinary(UNREADABLE),
      args: [`--dump-dir=${join(parent, "dump")}`, `--upstream-url=${upstream.url}`, `--user=${ALICE}`],
    });
    upstream.answer = answer("ok");
    expect((await roundTrip(proxy.port, request("{}"))).status).toBe(200);
    await proxy.stop();
    expect(statSync(join(parent, "dump"))).toMatchObject({ uid: ALICE, gid: ALICE });
    expect(names(join(parent, "dump"))).toHaveLength(2);
  });

  test("that exists, with mode 0700 and the proxy's owner, is used", async () => {
    const directory = join(temporaryDirectory(), "dump");
    mkdirSync(directory, { mode: 0o700 });
    const proxy = await start(directory);
    expect((await proxy.stop()).exitCode).toBe(0);
  });
});
