// --client-token: a new secret at each start, in a file that only the right users read, without which nothing is served and which goes nowhere else.

import { beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import OpenAI, { AuthenticationError } from "openai";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { Client } from "../harness/clients.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import {
  awaitsKey,
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  Proxy,
  runProgram,
  type Start,
  temporaryDirectory,
} from "../harness/program.ts";
import { startResponsesApi, WORDS } from "../harness/responses-api.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { type Answer, HEAD, open, roundTrip } from "../harness/wire.ts";

const SHUTDOWN = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n";

/** A directory of that user's. */
function directoryOf(uid = process.getuid!()): string {
  const directory = temporaryDirectory();
  if (uid !== process.getuid!()) chownSync(directory, uid, uid);
  return directory;
}

type Holding = { proxy: Proxy; upstream: RawUpstream; file: string; token: string; port: number };

/** A proxy with a token, in a file that is alone in its directory. */
async function holding({
  file = join(directoryOf(), "token"),
  args = [],
  ...start
}: Start & { file?: string } = {}): Promise<Holding> {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({
    ...start,
    args: [`--client-token=${file}`, `--upstream-url=${upstream.url}`, ...args],
  });
  return { proxy, upstream, file, token: readFileSync(file, "utf8").trimEnd(), port: proxy.port };
}

/** A request with these header lines. */
const request = (...lines: string[]): string =>
  `${HEAD}${lines.map((line) => `${line}\r\n`).join("")}Content-Length: 2\r\n\r\nhi`;
const bearer = (token: string): string => request(`Authorization: Bearer ${token}`);

function expectRefused({ status, fields, body }: Answer): void {
  const header = Object.fromEntries(fields);
  expect({ status, authenticate: header["www-authenticate"], type: header["content-type"] }).toEqual({
    status: 401,
    authenticate: "Bearer",
    type: "application/json",
  });
  expect(JSON.parse(body)).toEqual({
    error: {
      message: "refused by responses-api-proxy: the client token is missing or wrong; send it as the API key",
      type: "proxy_error",
      param: null,
      code: "token_refused",
    },
  });
}

describe("the file", () => {
  test("has 256 bits as base64url in a line, and is its owner's alone", async () => {
    const { file } = await holding();
    expect(readFileSync(file, "utf8")).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
    const { mode, uid } = lstatSync(file);
    expect({ mode: mode & 0o7777, uid }).toEqual({ mode: 0o600, uid: process.getuid!() });
    expect(readdirSync(join(file, ".."))).toEqual(["token"]);
  });

  test("is another at each start, and the old one's is worth nothing", async () => {
    const file = join(directoryOf(), "token");
    const tokens = new Set<string>();
    for (let start = 0; start < 5; start++) {
      const { proxy, token, port } = await holding({ file });
      expect((await roundTrip(port, bearer(token))).status).toBe(200);
      for (const old of tokens) expectRefused(await roundTrip(port, bearer(old)));
      tokens.add(token);
      await proxy.stop();
    }
    expect(tokens.size).toBe(5);
  });

  test("0600 whatever the caller's umask is", async () => {
    const { file } = await holding({ launcher: ["sh", "-c", 'umask 0; exec "$0" "$@"'] });
    expect(lstatSync(file).mode & 0o7777).toBe(0o600);
  });

  test.skipIf(lacks("root"))("belongs to the user of --user, and to nobody else (needs root)", async () => {
    const file = join(directoryOf(ALICE), "token");
    await holding({ file, args: [`--user=${ALICE}`], binary: reachableBinary(UNREADABLE) });
    const { uid, gid, mode } = lstatSync(file);
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: ALICE, gid: ALICE, mode: 0o600 });
  });

  test.skipIf(lacks("/proc without hidepid"))(
    "is not there while the key is awaited (needs /proc without hidepid)",
    async () => {
      const directory = directoryOf();
      const child = Bun.spawn([BINARY, `--client-token=${directory}/token`], {
        stdin: "pipe",
        stderr: "ignore",
        env: BARE_ENVIRONMENT,
      });
      await until(() => awaitsKey(child.pid), "the program to wait for the key");
      expect(readdirSync(directory)).not.toContain("token");
      child.kill("SIGKILL");
      await child.exited;
    },
  );

  test.skipIf(lacks("root"))(
    "--client-token-group: 0640 and that group, which the user is in (needs root)",
    async () => {
      const launcher = [
        "setpriv",
        `--reuid=${ALICE}`,
        `--regid=${ALICE}`,
        `--groups=${BOB}`,
        "--inh-caps=-all",
      ];
      const file = join(directoryOf(ALICE), "token");
      const args = [`--client-token-group=${BOB}`];
      const { port, token } = await holding({ file, args, launcher, binary: reachableBinary(UNREADABLE) });
      const { uid, gid, mode } = lstatSync(file);
      expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: ALICE, gid: BOB, mode: 0o640 });
      expect((await roundTrip(port, bearer(token))).status).toBe(200);
    },
  );

  test("--client-token-group by the user's own group", async () => {
    const file = join(directoryOf(), "token");
    await holding({ file, args: [`--client-token-group=${process.getgid!()}`] });
    expect(lstatSync(file).mode & 0o7777).toBe(0o640);
  });

  test("--client-token-group that the user is not in: an error, and nothing stays", async () => {
    const directory = directoryOf(ORDINARY);
    const file = join(directory, "token");
    const args = [`--client-token=${file}`, `--client-token-group=${BOB}`];
    const ended = await runProgram({
      args,
      input: "sk-unused\n",
      launcher: as(ORDINARY),
      binary: reachableBinary(UNREADABLE),
    });
    expect(ended).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: cannot write --client-token '${file}': the proxy's user is not in group ${BOB} (EPERM)\nresponses-api-proxy: hint: name a group of that user's; with --user, only the primary one counts\n`,
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("--client-token-group that is none: exit code 2", async () => {
    const args = [`--client-token=${join(directoryOf(), "token")}`, "--client-token-group=no-such-group"];
    const { exitCode, stderr } = await runProgram({ args });
    expect(exitCode).toBe(2);
    expect(stderr).toStartWith(
      "responses-api-proxy: error: --client-token-group 'no-such-group' is no group\nresponses-api-proxy: hint: give a name that getent(1) knows, or a number\n",
    );
  });
});

describe("the file is gone after", () => {
  const left = (file: string): string[] => readdirSync(join(file, ".."));

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s", async (signal) => {
    const { proxy, file } = await holding();
    proxy.signal(signal);
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(left(file)).toEqual([]);
  });

  test("GET /shutdown, which requires the token, too", async () => {
    const { proxy, port, file, token } = await holding({ args: ["--http-shutdown"] });
    expectRefused(await roundTrip(port, `${SHUTDOWN}\r\n`));
    expect(left(file)).toEqual(["token"]);
    expect((await roundTrip(port, `${SHUTDOWN}Authorization: Bearer ${token}\r\n\r\n`)).status).toBe(200);
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(left(file)).toEqual([]);
  });

  test("the end of --lifetime", async () => {
    const { proxy, file } = await holding({ args: ["--lifetime=1s"] });
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(left(file)).toEqual([]);
  });

  test("a second signal, while an exchange is in flight", async () => {
    const { proxy, upstream, file, port, token } = await holding({ args: ["--shutdown-timeout=1h"] });
    const arrived = Promise.withResolvers<void>();
    upstream.answer = () => arrived.resolve();
    await open(port, bearer(token));
    await arrived.promise;
    proxy.signal("SIGTERM");
    await proxy.waitForLine(/SIGTERM: ending, 1 exchange in flight/);
    proxy.signal("SIGTERM");
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(left(file)).toEqual([]);
  });

  test.each([
    ["no key", "", false],
    ["a key that is none", "sk-with space\n", false],
    ["a port that is taken", "sk-unused\n", true],
  ])("a start that fails: %s", async (_why, input, isTaken) => {
    const directory = directoryOf();
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const args = [`--client-token=${directory}/token`, `--port=${isTaken ? taken.port : 0}`];
    const { exitCode } = await runProgram({ args, input });
    taken.stop(true);
    expect({ exitCode, left: readdirSync(directory) }).toEqual({ exitCode: 1, left: [] });
  });

  test("not if another proxy's has taken its place", async () => {
    const { proxy: first, file } = await holding();
    const { proxy: second, token, port } = await holding({ file });
    await first.stop();
    expect(readFileSync(file, "utf8")).toBe(`${token}\n`);
    expect((await roundTrip(port, bearer(token))).status).toBe(200);
    await second.stop();
    expect(left(file)).toEqual([]);
  });

  test("nor if it has been moved away, and another file is there", async () => {
    const { proxy, file } = await holding();
    renameSync(file, `${file}.old`);
    writeFileSync(file, "mine");
    await proxy.stop();
    expect(left(file).sort()).toEqual(["token", "token.old"]);
    expect(readFileSync(file, "utf8")).toBe("mine");
  });
});

describe("the place of the file", () => {
  const refusal = async (file: string, launcher: string[] = []): Promise<string> => {
    const { exitCode, stderr } = await runProgram({
      args: [`--client-token=${file}`],
      input: "sk-unused\n",
      launcher,
      binary: reachableBinary(UNREADABLE),
    });
    expect(exitCode).toBe(1);
    const begin = `responses-api-proxy: error: cannot write --client-token '${file}'`;
    expect(stderr).toStartWith(begin);
    return stderr.slice(begin.length, stderr.indexOf("\n"));
  };

  test("a symlink there is replaced, and what it leads to is as it was", async () => {
    const directory = directoryOf();
    const target = join(directory, "target");
    writeFileSync(target, "mine", { mode: 0o644 });
    symlinkSync(target, join(directory, "token"));
    const { file } = await holding({ file: join(directory, "token") });
    expect(lstatSync(file).isFile()).toBe(true);
    expect([readFileSync(target, "utf8"), lstatSync(target).mode & 0o777]).toEqual(["mine", 0o644]);
  });

  test("a FIFO there is replaced and not waited for; its reader gets nothing", async () => {
    const file = join(directoryOf(), "token");
    Bun.spawnSync(["mkfifo", file]);
    const { token } = await holding({ file });
    expect(lstatSync(file).isFile()).toBe(true);
    expect(token).toHaveLength(43);
  });

  test("an open file of another mode there is replaced: who holds it open gets nothing", async () => {
    const file = join(directoryOf(), "token");
    writeFileSync(file, "");
    chmodSync(file, 0o666);
    const fd = openSync(file, "r");
    const { token } = await holding({ file });
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(token).toHaveLength(43);
    expect(readFileSync(fd, "utf8")).toBe("");
    closeSync(fd);
  });

  test("a directory, and a socket there, is refused", async () => {
    const directory = directoryOf();
    mkdirSync(join(directory, "a"));
    const listener = Bun.listen({ unix: join(directory, "b"), socket: { data() {} } });
    expect(await refusal(join(directory, "a"))).toBe(": it is a directory");
    expect(await refusal(join(directory, "b"))).toBe(": it is a socket");
    listener.stop(true);
  });

  test.each([0o777, 0o775, 0o757])("a directory that others may write to (%o) is refused", async (mode) => {
    const directory = directoryOf();
    chmodSync(directory, mode);
    expect(await refusal(join(directory, "token"))).toBe(`: others may write to the directory ${directory}`);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("so is a directory in it", async () => {
    const directory = directoryOf();
    mkdirSync(join(directory, "inner"));
    chmodSync(directory, 0o777);
    expect(await refusal(join(directory, "inner/token"))).toBe(
      `: others may write to the directory ${directory}`,
    );
  });

  test.skipIf(lacks("root"))(
    "another user's directory, or symlink on the way, is refused (needs root)",
    async () => {
      const directory = directoryOf(BOB);
      expect(await refusal(join(directory, "token"))).toBe(`: the directory ${directory} is user ${BOB}'s`);
      expect(await refusal(join(directory, "token"), as(ALICE))).toBe(
        `: the directory ${directory} is user ${BOB}'s`,
      );
      const [own, sticky] = [directoryOf(), directoryOf()];
      chmodSync(sticky, 0o1777);
      symlinkSync(own, join(sticky, "way"));
      await Bun.spawn(["chown", "-h", `${BOB}:${BOB}`, join(sticky, "way")]).exited;
      expect(await refusal(join(sticky, "way/token"))).toBe(`: the symlink ${sticky}/way is user ${BOB}'s`);
      expect(readdirSync(own)).toEqual([]);
    },
  );

  test.skipIf(lacks("root"))(
    "another user's file in a sticky directory is not written to (needs root)",
    async () => {
      const sticky = directoryOf();
      chmodSync(sticky, 0o1777);
      const file = join(sticky, "token");
      writeFileSync(file, "bob's");
      chownSync(file, BOB, BOB);
      expect(await refusal(file, as(ALICE))).toBe(" (EPERM)");
      expect(readFileSync(file, "utf8")).toBe("bob's");
      expect(readdirSync(sticky)).toEqual(["token"]);
      rmSync(file);
    },
  );
});

describe("a request", () => {
  let held: Holding;
  beforeAll(async () => {
    held = await holding();
  });
  const send = (text: string): Promise<Answer> => roundTrip(held.port, text);

  test.each(["Bearer", "bearer", "BEARER", "bEaReR"])(
    "passes with the token and the scheme %s",
    async (scheme) => {
      const answer = await send(request(`Authorization: ${scheme} ${held.token}`));
      expect(answer).toMatchObject({ status: 200, body: "ok" });
    },
  );

  test("passes with more than one space, as RFC 6750's grammar allows", async () => {
    expect((await send(request(`Authorization:  Bearer   ${held.token} `))).status).toBe(200);
  });

  const OTHERS: [name: string, lines: (token: string) => string[]][] = [
    ["nothing", () => []],
    ["an empty field", () => ["Authorization:"]],
    ["the scheme alone", () => ["Authorization: Bearer"]],
    ["the scheme and a space", () => ["Authorization: Bearer "]],
    ["the token alone", (token) => [`Authorization: ${token}`]],
    ["no space", (token) => [`Authorization: Bearer${token}`]],
    ["a tab", (token) => [`Authorization: Bearer\t${token}`]],
    ["another token", () => [`Authorization: Bearer ${"A".repeat(43)}`]],
    ["a key", () => [`Authorization: Bearer ${CANARY_KEY}`]],
    ["a part from the start", (token) => [`Authorization: Bearer ${token.slice(0, -1)}`]],
    ["a part to the end", (token) => [`Authorization: Bearer ${token.slice(1)}`]],
    ["more at the end", (token) => [`Authorization: Bearer ${token}A`]],
    ["more at the start", (token) => [`Authorization: Bearer A${token}`]],
    ["padding", (token) => [`Authorization: Bearer ${token}=`]],
    ["the same bytes in other letters", (token) => [`Authorization: Bearer ${swapCase(token)}`]],
    ["a second word", (token) => [`Authorization: Bearer ${token} ${token}`]],
    ["a letter that is not ASCII", (token) => [`Authorization: Bearer ${token.slice(0, -1)}\xe9`]],
    ["the token twice", (token) => [`Authorization: Bearer ${token}`, `Authorization: Bearer ${token}`]],
    ["another first", (token) => ["Authorization: Bearer x", `Authorization: Bearer ${token}`]],
    ["another last", (token) => [`Authorization: Bearer ${token}`, "Authorization: Bearer x"]],
    ["Basic", (token) => [`Authorization: Basic ${token}`]],
    ["Basic, encoded", (token) => [`Authorization: Basic ${btoa(`x:${token}`)}`]],
    ["Proxy-Authorization", (token) => [`Proxy-Authorization: Bearer ${token}`]],
    ["Azure's api-key", (token) => [`api-key: ${token}`]],
    ["a cookie", (token) => [`Cookie: authorization=Bearer ${token}`]],
  ];

  test.each(OTHERS)("is refused with %s", async (_name, lines) => {
    const before = held.upstream.bytesReceived;
    expectRefused(await send(request(...lines(held.token))));
    expect(held.upstream.bytesReceived).toBe(before);
  });

  test("is refused with any one character changed", async () => {
    const before = held.upstream.requests.length;
    for (let at = 0; at < held.token.length; at++) {
      const changed = held.token[at] === "A" ? "B" : "A";
      expectRefused(await send(bearer(held.token.slice(0, at) + changed + held.token.slice(at + 1))));
    }
    expect((await send(bearer(held.token))).status).toBe(200);
    expect(held.upstream.requests).toHaveLength(before + 1);
  });

  test("is judged each time: one after another on a connection", async () => {
    const wire = await open(held.port, bearer(held.token));
    await wire.until(/200 OK[^]*ok$/);
    wire.received = "";
    wire.send(request());
    await wire.until(/401[^]*token_refused"}}$/);
    wire.received = "";
    wire.send(bearer(held.token));
    await wire.until(/200 OK[^]*ok$/);
    wire.socket.destroy();
  });

  test("that is not for the one route is refused as ever, the token or not", async () => {
    const answer = await send(
      `GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${held.token}\r\n\r\n`,
    );
    expect(JSON.parse(answer.body).error.code).toBe("route_refused");
  });
});

const swapCase = (text: string): string =>
  text.replace(/[a-z]/gi, (letter) =>
    letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase(),
  );

describe("the token goes nowhere", () => {
  test.each([[[]], [["--log-json"]]])(
    "neither to the upstream, nor to log, dump or answers %j",
    async (style) => {
      const dump = join(directoryOf(), "dump");
      const args = ["--log-level=debug", `--dump-dir=${dump}`, ...style];
      const { proxy, upstream, token, port } = await holding({ args });
      const raws: string[] = [];
      raws.push((await roundTrip(port, bearer(token))).raw);
      raws.push((await roundTrip(port, bearer(`${token}x`))).raw);
      raws.push((await roundTrip(port, `GET /?${token} HTTP/1.1\r\nHost: localhost\r\n\r\n`)).raw);
      upstream.answer = (connection) => connection.reset();
      raws.push((await roundTrip(port, bearer(token))).raw);
      expect(upstream.requests).toHaveLength(2);
      for (const received of upstream.requests) {
        expect(received.fields.filter(([name]) => name === "authorization")).toEqual([
          ["authorization", `Bearer ${CANARY_KEY}`],
        ]);
        expect(JSON.stringify(received)).not.toContain(token);
      }
      const { stdout, stderr } = await proxy.stop();
      const files = readdirSync(dump).map((name) => readFileSync(join(dump, name), "utf8"));
      expect(files.length).toBeGreaterThan(1);
      expect(files.join("")).toContain("[REDACTED]");
      const everything = [...raws, stdout, stderr, ...files].join("\n");
      expect(everything).not.toContain(token);
      expect(everything).not.toContain(token.slice(0, 12));
      expect(stderr).toContain("token_refused");
    },
  );

  test("the log says that it was the token, and whose connection", async () => {
    const { proxy, port, token } = await holding({ args: ["--log-level=debug"] });
    await roundTrip(port, bearer(token));
    await proxy.waitForLine(new RegExp(`#1 200, .*, by user ${process.getuid!()}, token: done`));
    await roundTrip(port, bearer("another"));
    await proxy.waitForLine(
      new RegExp(`401, POST /v1/responses: refused, by user ${process.getuid!()}: token_refused\n`),
    );
  });
});

test("OpenAI's SDK takes it as the API key, and says so if it is wrong, without trying again", async () => {
  const authority = await makeAuthority();
  const api = startResponsesApi({ tls: authority.server });
  const file = join(directoryOf(), "token");
  const proxy = await Proxy.start({
    args: [`--client-token=${file}`, `--upstream-url=${api.url}`],
    env: trust(authority, temporaryDirectory()),
  });
  const baseURL = `${proxy.baseUrl}/v1`;
  const client = new OpenAI({ baseURL, apiKey: readFileSync(file, "utf8").trim() });
  const response = await client.responses.create({ model: "gpt-5", input: "hello" });
  expect(response.output_text).toBe(WORDS.join(""));
  const stranger = new OpenAI({ baseURL, apiKey: "sk-another" });
  const refused = await stranger.responses.create({ model: "gpt-5", input: "hello" }).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(refused).toBeInstanceOf(AuthenticationError);
  expect(refused).toMatchObject({ status: 401, code: "token_refused" });
  expect(api.requests).toHaveLength(1);
  expect((await proxy.stop()).stderr).toContain("1 exchange (0 failed), 1 refused");
  api.stop();
});

test.skipIf(lacks("root"))("with --allow-user both must hold (needs root)", async () => {
  const { upstream, token, port } = await holding({ args: [`--allow-user=${ALICE}`] });
  const [alice, bob] = await Promise.all([Client.as(ALICE).open(port), Client.as(BOB).open(port)]);
  expect(JSON.parse((await bob.ask(bearer(token))).body).error.code).toBe("user_refused");
  expect(JSON.parse((await bob.ask(request())).body).error.code).toBe("user_refused");
  expectRefused(await alice.ask(request()));
  expect(upstream.connections).toBe(0);
  expect((await alice.ask(bearer(token))).status).toBe(200);
});

test("the comparison takes the same time wherever the bytes differ", () => {
  // No measurement on a shared machine would show it.
  const source = readFileSync("src/key/client-token.ts", "utf8");
  expect(source).toContain("isEqual(bytes, this.#value)");
  expect(source).toContain(".timingSafeEqual(a, b)");
  expect(source).not.toMatch(/[=!]==\s*this\.#value(?!\.byteLength)|#value\s*[=!]==/);
});
