// --socket: who may connect, what stands in its way and is left behind, when it goes, and that exchanges over it are as over TCP. (That the same
// requests pass and are refused is in requests.test.ts; silence in quiet.test.ts, no descriptor left in full.test.ts.)

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import {
  awaitsKey,
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  type Ended,
  isAlive,
  Proxy,
  runProgram,
  temporaryDirectory,
} from "../harness/program.ts";
import { expectNothingLost } from "../harness/takeover.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, isRoot, ORDINARY, reachableBinary, runAs, UNREADABLE } from "../harness/users.ts";
import { chunk, HEAD, LAST_CHUNK, open, REQUEST, roundTrip, STREAM } from "../harness/wire.ts";

const upstream = new RawUpstream();
const SHUTDOWN = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n";

type Start = { args?: string[]; launcher?: string[]; binary?: string; url?: string };

function start(socket: string, { args = [], url = upstream.url, ...more }: Start = {}): Promise<Proxy> {
  return Proxy.start({ ...more, args: [`--socket=${socket}`, `--upstream-url=${url}`, ...args] });
}

/** What a start says that is refused, having written nothing but that. */
async function refused(socket: string, { args = [], ...more }: Start = {}): Promise<string> {
  const ended = await runProgram({ ...more, args: [`--socket=${socket}`, ...args], input: "sk-x\n" });
  expect(ended).toMatchObject({ exitCode: 1, stdout: "" });
  const [first, hint, ...rest] = ended.stderr.split("\n");
  expect(first).toStartWith(`responses-api-proxy: error: cannot write --socket '${socket}'`);
  // One line, and at most one hint.
  if (hint !== "")
    expect([hint, ...rest]).toEqual([expect.stringMatching(/^responses-api-proxy: hint: /), ""]);
  return first!.slice("responses-api-proxy: error: ".length);
}

const inDirectory = (name = "proxy.sock"): string => join(temporaryDirectory(), name);

/** An upstream that hands over the connection of each request. */
function holding(): { url: string; next: () => Promise<Connection>; closed: Promise<void> } {
  const arrived: Connection[] = [];
  const closed = Promise.withResolvers<void>();
  const held = new RawUpstream({ answer: (connection) => void arrived.push(connection) });
  held.onClose = closed.resolve;
  const next = async (): Promise<Connection> => {
    await until(() => arrived.length > 0, "a request to reach the upstream");
    return arrived.shift()!;
  };
  return { url: held.url, next, closed: closed.promise };
}

describe("listens", () => {
  test("on the socket and on no port; with --port on both", async () => {
    const socket = inDirectory();
    const alone = await start(socket);
    expect(alone.stderr).toContain(`listening on ${socket}, forwarding to `);
    expect((await roundTrip(socket, REQUEST)).status).toBe(200);
    if (!lacks("/proc without hidepid") && isRoot) expect(listeningPorts(alone.pid)).toEqual([]);
    await alone.stop();
    const both = await start(socket, { args: ["--port=0"] });
    expect(both.stderr).toContain(`listening on http://127.0.0.1:${both.port} and ${socket}, `);
    for (const address of [both.port, socket]) expect((await roundTrip(address, REQUEST)).status).toBe(200);
  });

  test("relative to the directory the program was started in", async () => {
    const cwd = temporaryDirectory();
    await Proxy.start({ cwd, args: ["--socket=s", `--upstream-url=${upstream.url}`] });
    expect((await roundTrip(join(cwd, "s"), REQUEST)).status).toBe(200);
  });

  test("in directories made for it, with nothing beside it", async () => {
    const socket = inDirectory("made/for/it.sock");
    await start(socket);
    expect(readdirSync(join(socket, ".."))).toEqual(["it.sock"]);
  });

  test("on a path of 107 bytes, also with umlauts; one of 108 is refused with exit code 2", async () => {
    const directory = temporaryDirectory();
    const left = 107 - directory.length - 1;
    for (const name of ["a".repeat(left), "ü".repeat(10) + "a".repeat(left - 20)]) {
      const path = join(directory, name);
      expect(Buffer.byteLength(path)).toBe(107);
      const proxy = await start(path);
      expect((await roundTrip(path, REQUEST)).status).toBe(200);
      await proxy.stop();
      const { exitCode, stdout, stderr } = await runProgram({ args: [`--socket=${path}x`], input: "sk-x\n" });
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
      expect(stderr).toStartWith(
        "responses-api-proxy: error: --socket must have at most 107 bytes as an absolute path, got 108\n",
      );
      expect(readdirSync(directory)).toEqual([]);
    }
  });
});

describe("who may connect", () => {
  test("mode 0600 by default, whatever the umask is", async () => {
    for (const umask of ["000", "077"]) {
      const socket = inDirectory();
      await start(socket, { launcher: ["sh", "-c", `umask ${umask}; exec "$0" "$@"`] });
      expect(lstatSync(socket).isSocket()).toBe(true);
      expect(lstatSync(socket).mode & 0o7777).toBe(0o600);
    }
  });

  test("--socket-mode and --socket-group, of a group that the user is in", async () => {
    const socket = inDirectory();
    const group = process.getgroups!().find((gid) => gid !== process.getgid!()) ?? process.getgid!();
    await start(socket, { args: ["--socket-mode=0660", `--socket-group=${group}`] });
    expect(lstatSync(socket)).toMatchObject({ uid: process.getuid!(), gid: group });
    expect(lstatSync(socket).mode & 0o7777).toBe(0o660);
  });

  test.skipIf(lacks("root"))(
    "another's group: exit code 1, one line, and nothing is left (needs root)",
    async () => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, ALICE);
      const socket = join(directory, "s");
      const how = { launcher: as(ALICE), binary: reachableBinary(UNREADABLE) };
      const told = await refused(socket, { ...how, args: ["--socket-group=4", "--socket-mode=0660"] });
      expect(told).toMatch(/^cannot write --socket '\S+': the proxy's user is not in group \d+ \(EPERM\)$/);
      expect(readdirSync(directory)).toEqual([]);
      // The neighbour.
      await start(socket, { ...how, args: [`--socket-group=${ALICE}`, "--socket-mode=0660"] });
      expect(lstatSync(socket)).toMatchObject({ uid: ALICE, gid: ALICE });
    },
  );

  const CAROL = 61_236;
  const ACCESS: [mode: string, owner: string, inGroup: string, other: string][] = [
    ["0600", "403", "EACCES", "EACCES"],
    ["0660", "403", "403", "EACCES"],
    ["0666", "403", "403", "403"],
  ];
  test.skipIf(lacks("root")).each(ACCESS)(
    "mode %s: the owner %s, one of the group %s, others %s (needs root)",
    async (mode, owner, inGroup, other) => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, ALICE);
      const socket = join(directory, "s");
      // A user who is in Bob's group, too.
      const launcher = as(ALICE).map((word) => (word === "--clear-groups" ? `--groups=${BOB}` : word));
      const args = [`--socket-mode=${mode}`, `--socket-group=${BOB}`];
      await start(socket, { launcher, binary: reachableBinary(UNREADABLE), args });
      const dial = async (uid: number): Promise<string> => (await runAs(uid, "dial.ts", socket)).trim();
      expect([await dial(ALICE), await dial(BOB), await dial(CAROL)]).toEqual([owner, inGroup, other]);
    },
  );
});

describe("before the key is there", () => {
  test.skipIf(lacks("/proc without hidepid"))(
    "nobody finds it, and one who guesses its name may not connect (needs /proc without hidepid)",
    async () => {
      const directory = temporaryDirectory();
      if (isRoot) chownSync(directory, ORDINARY, ORDINARY);
      const socket = join(directory, "s");
      const child = Bun.spawn(
        [
          ...as(ORDINARY),
          reachableBinary(UNREADABLE),
          `--socket=${socket}`,
          `--upstream-url=${upstream.url}`,
        ],
        { stdio: ["pipe", "ignore", "pipe"], env: BARE_ENVIRONMENT, cwd: "/" },
      );
      atEnd(() => child.kill("SIGKILL"));
      await until(() => awaitsKey(child.pid), "the program to wait for the key");
      expect(existsSync(socket)).toBe(false);
      const [hidden, ...others] = readdirSync(directory);
      expect(others).toEqual([]);
      expect(hidden).toMatch(/^\.[0-9a-f]{16}$/);
      const name = join(directory, hidden!);
      // Until then it is 0755, by the umask: nobody else may write, which connecting takes.
      await until(() => (lstatSync(name).mode & 0o7777) === 0o600, "its mode");
      if (isRoot) expect((await runAs(BOB, "dial.ts", name)).trim()).toBe("EACCES");
      // Whoever may connect waits until the proxy serves; the key has come by then, or nobody is served.
      const asked = upstream.requests.length;
      const tooEarly = await roundTrip(name, REQUEST);
      expect(tooEarly.status).toBe(503);
      expect(tooEarly.fields).toContainEqual(["retry-after", "1"]);
      const early = await open(name, REQUEST);
      child.stdin.write(`${CANARY_KEY}\n`);
      await child.stdin.end();
      await early.until(/\r\n\r\n/);
      expect(early.received).toMatch(/^HTTP\/1\.1 (200|503) /);
      await until(() => existsSync(socket), "the socket");
      expect(readdirSync(directory)).toEqual(["s"]);
      expect((await roundTrip(socket, REQUEST)).status).toBe(200);
      for (const { fields } of upstream.requests.slice(asked))
        expect(fields).toContainEqual(["authorization", `Bearer ${CANARY_KEY}`]);
      child.kill("SIGTERM");
      await within(child.exited, "it to end");
    },
  );

  const NO_KEYS: [what: string, input: string][] = [
    ["an empty key", ""],
    ["a key with a blank", "sk a\n"],
  ];
  test.each(NO_KEYS)("%s: exit code 1, and nothing is left", async (_what, input) => {
    const directory = temporaryDirectory();
    const { exitCode } = await runProgram({ args: [`--socket=${directory}/s`], input });
    expect(exitCode).toBe(1);
    expect(readdirSync(directory)).toEqual([]);
  });

  test.skipIf(lacks("/proc without hidepid")).each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s while the key is awaited leaves nothing (needs /proc without hidepid)",
    async (signal) => {
      const directory = temporaryDirectory();
      const child = Bun.spawn([BINARY, `--socket=${directory}/s`], {
        stdio: ["pipe", "ignore", "ignore"],
        env: BARE_ENVIRONMENT,
      });
      await until(() => awaitsKey(child.pid), "the program to wait for the key");
      child.kill(signal);
      await within(child.exited, "it to end");
      expect(readdirSync(directory)).toEqual([]);
    },
  );

  test("a taken --port: exit code 1, and no socket is left", async () => {
    const directory = temporaryDirectory();
    const args = [`--socket=${directory}/s`, `--port=${upstream.port}`];
    const { exitCode, stderr } = await runProgram({ args, input: "sk-x\n" });
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(`responses-api-proxy: error: cannot listen on 127.0.0.1:${upstream.port}: `);
    expect(readdirSync(directory)).toEqual([]);
  });

  test.skipIf(lacks("root"))(
    "a client token of another's group: exit code 1, and no socket is left (needs root)",
    async () => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, ALICE);
      const { exitCode, stderr } = await runProgram({
        launcher: as(ALICE),
        binary: reachableBinary(UNREADABLE),
        args: [`--socket=${directory}/s`, `--client-token=${directory}/t`, "--client-token-group=4"],
        input: "sk-x\n",
      });
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith(
        `responses-api-proxy: error: cannot write --client-token '${directory}/t': the proxy's user is not in group `,
      );
      expect(readdirSync(directory)).toEqual([]);
    },
  );

  test("a server-info file that cannot be written: exit code 1, and no socket is left", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, "info"));
    const args = [`--socket=${directory}/s`, `--server-info=${directory}/info`];
    expect((await runProgram({ args, input: "sk-x\n" })).exitCode).toBe(1);
    expect(readdirSync(directory)).toEqual(["info"]);
  });
});

describe("what is in the way is refused with one line and stays, and nothing is left beside it", () => {
  const IN_THE_WAY: [what: string, kind: string, put: (path: string) => void][] = [
    ["a symlink", "symlink", (path) => symlinkSync("elsewhere", path)],
    [
      "a symlink to a socket",
      "symlink",
      (path) => {
        listenOn(`${path}.other`);
        symlinkSync(`${path}.other`, path);
      },
    ],
    ["a FIFO", "FIFO", (path) => void Bun.spawnSync(["mkfifo", path])],
    ["a file", "file", (path) => writeFileSync(path, "mine")],
    ["a directory", "directory", (path) => mkdirSync(path)],
  ];
  test.each(IN_THE_WAY)("%s", async (_what, kind, put) => {
    const socket = inDirectory();
    put(socket);
    const before = readdirSync(join(socket, ".."));
    const { ino } = lstatSync(socket);
    expect(await refused(socket)).toBe(`cannot write --socket '${socket}': it is a ${kind}`);
    expect(readdirSync(join(socket, ".."))).toEqual(before);
    expect(lstatSync(socket).ino).toBe(ino);
  });

  test("a socket whose listener is gone, the neighbour: it is replaced", async () => {
    const socket = inDirectory();
    const first = await start(socket);
    first.signal("SIGKILL");
    await first.ended();
    expect(existsSync(socket)).toBe(true);
    await start(socket);
    expect((await roundTrip(socket, REQUEST)).status).toBe(200);
  });

  test("a file where a directory should be", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "file"), "");
    expect(await refused(join(directory, "file/s"))).toMatch(/ \((ENOTDIR|EEXIST)\)$/);
    expect(readdirSync(directory)).toEqual(["file"]);
  });

  test("a directory that others may write in; one only the user may, the neighbour", async () => {
    for (const mode of [0o777, 0o775, 0o757]) {
      const directory = temporaryDirectory();
      chmodSync(directory, mode);
      expect(await refused(join(directory, "s"))).toEndWith(
        `: others may write to the directory ${directory}`,
      );
      expect(readdirSync(directory)).toEqual([]);
      chmodSync(directory, 0o755);
      await (await start(join(directory, "s"))).stop();
    }
  });

  test("not the sticky bit: in a directory such as /tmp it may be", async () => {
    const directory = temporaryDirectory();
    chmodSync(directory, 0o1777);
    await start(join(directory, "s"));
    expect((await roundTrip(join(directory, "s"), REQUEST)).status).toBe(200);
  });

  describe.skipIf(lacks("root"))("of another user (needs root)", () => {
    test("a directory of theirs, a symlink of theirs on the way, what root's symlink leads to", async () => {
      const theirs = temporaryDirectory();
      chownSync(theirs, ALICE, 0);
      expect(await refused(join(theirs, "s"))).toEndWith(`: the directory ${theirs} is user ${ALICE}'s`);
      const directory = temporaryDirectory();
      mkdirSync(join(directory, "real"));
      symlinkSync("real", join(directory, "way"));
      await (await start(join(directory, "way/s"))).stop();
      lchownSync(join(directory, "way"), ALICE, ALICE);
      expect(await refused(join(directory, "way/s"))).toEndWith(
        `: the symlink ${directory}/way is user ${ALICE}'s`,
      );
      symlinkSync(theirs, join(directory, "roots"));
      expect(await refused(join(directory, "roots/s"))).toEndWith(
        `: the directory ${theirs} is user ${ALICE}'s`,
      );
      for (const empty of [theirs, join(directory, "real")]) expect(readdirSync(empty)).toEqual([]);
    });

    test("a socket that they listen on, in a sticky directory: they keep it, and the proxy does not start", async () => {
      const directory = temporaryDirectory();
      chmodSync(directory, 0o1777);
      const socket = join(directory, "s");
      listenOn(socket);
      lchownSync(socket, BOB, BOB);
      const how = { launcher: as(ALICE), binary: reachableBinary(UNREADABLE) };
      expect(await refused(socket, how)).toBe(`cannot write --socket '${socket}' (EPERM)`);
      expect(readdirSync(directory)).toEqual(["s"]);
      expect(lstatSync(socket).uid).toBe(BOB);
      // The neighbour: one of the user's own is replaced.
      lchownSync(socket, ALICE, ALICE);
      await start(socket, how);
      expect((await roundTrip(socket, REQUEST)).status).toBe(200);
    });

    test("root replaces it where root may, and it is not theirs any more", async () => {
      const socket = inDirectory();
      listenOn(socket);
      lchownSync(socket, BOB, BOB);
      await start(socket);
      expect(lstatSync(socket)).toMatchObject({ uid: 0, mode: 0o140600 });
      expect((await roundTrip(socket, REQUEST)).status).toBe(200);
    });

    test("with --user the socket is that user's, and nothing is made as root", async () => {
      const directory = temporaryDirectory();
      const how = { binary: reachableBinary(UNREADABLE), args: [`--user=${BOB}`] };
      expect(await refused(join(directory, "made/s"), how)).toEndWith(" (EACCES)");
      expect(readdirSync(directory)).toEqual([]);
      chownSync(directory, BOB, BOB);
      await start(join(directory, "made/s"), how);
      expect(lstatSync(join(directory, "made/s")).uid).toBe(BOB);
      expect(statSync(join(directory, "made")).uid).toBe(BOB);
    });
  });
});

describe("is removed", () => {
  const ENDINGS: [how: string, end: (proxy: Proxy, socket: string) => Promise<unknown>][] = [
    ...(["SIGTERM", "SIGINT", "SIGHUP"] as const).map((signal): [string, (proxy: Proxy) => Promise<void>] => [
      signal,
      async (proxy) => proxy.signal(signal),
    ]),
    ["GET /shutdown over it", (_proxy, socket) => roundTrip(socket, SHUTDOWN)],
  ];
  test.each(ENDINGS)("at %s", async (_how, end) => {
    const socket = inDirectory();
    const proxy = await start(socket, { args: ["--http-shutdown"] });
    await end(proxy, socket);
    expect(await proxy.ended()).toMatchObject({ exitCode: 0, stdout: "" });
    expect(readdirSync(join(socket, ".."))).toEqual([]);
  });

  test("at once, while what is in flight still ends; a second signal breaks that off", async () => {
    const { url, next } = holding();
    const socket = inDirectory();
    for (const isPatient of [true, false]) {
      const proxy = await start(socket, { url, args: ["--shutdown-timeout=1h"] });
      const wire = await open(socket, REQUEST);
      const connection = await next();
      connection.write(STREAM + chunk("one"));
      await wire.until(/one\r\n$/);
      proxy.signal("SIGTERM");
      await until(() => !existsSync(socket), `${socket} to go`);
      expect(wire.closed).toBeUndefined();
      expect(isAlive(proxy.pid)).toBe(true);
      if (isPatient) connection.write(chunk("two") + LAST_CHUNK);
      else proxy.signal("SIGTERM");
      await wire.untilClosed();
      if (isPatient) expect(wire.received).toEndWith(chunk("one") + chunk("two") + LAST_CHUNK);
      else expect(wire.received).toEndWith(chunk("one"));
      expect((await proxy.ended()).exitCode).toBe(0);
      expect(readdirSync(join(socket, ".."))).toEqual([]);
    }
  });

  test("but not when another has taken its place: a proxy, or a file", async () => {
    const socket = inDirectory();
    const first = await start(socket);
    const second = await start(socket);
    await first.stop();
    expect((await roundTrip(socket, REQUEST)).status).toBe(200);
    writeFileSync(`${socket}.other`, "another's");
    renameSync(`${socket}.other`, socket);
    await second.stop();
    expect(readFileSync(socket, "utf8")).toBe("another's");
  });

  test("and its directory may be moved meanwhile", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, "before"));
    const proxy = await start(join(directory, "before/s"));
    renameSync(join(directory, "before"), join(directory, "after"));
    expect((await roundTrip(join(directory, "after/s"), REQUEST)).status).toBe(200);
    await proxy.stop();
    expect(readdirSync(join(directory, "after"))).toEqual([]);
  });
});

describe("a new proxy takes it over", () => {
  test("10 times, under load: no client notices, and streams of the old ones end whole", async () => {
    expect(await expectNothingLost(10)).toBeGreaterThan(100);
  });

  test("connections that wait in the old one's queue are served", async () => {
    const socket = inDirectory();
    for (let round = 0; round < 10; round++) {
      const old = await start(socket);
      // Stopped, so that it accepts nobody.
      old.signal("SIGSTOP");
      const wires = await Promise.all(Array.from({ length: 20 }, () => open(socket, REQUEST)));
      const next = await start(socket);
      old.signal("SIGTERM");
      old.signal("SIGCONT");
      for (const wire of wires) {
        await wire.until(/\r\n\r\nok$/);
        expect(wire.received).toStartWith("HTTP/1.1 200 OK\r\n");
      }
      const ended: Ended = await old.ended();
      expect(ended.exitCode).toBe(0);
      await next.stop();
    }
  });
});

describe("an exchange over it", () => {
  test("each event before the next one is sent", async () => {
    const { url, next } = holding();
    const socket = inDirectory();
    await start(socket, { url });
    const wire = await open(socket, REQUEST);
    const connection = await next();
    connection.write(STREAM);
    for (const word of ["uno", "due", "tre"]) {
      connection.write(chunk(word));
      await wire.until(new RegExp(`${word}\r\n$`));
    }
    connection.write(LAST_CHUNK);
    await wire.until(/\r\n0\r\n\r\n$/);
    expect(wire.received).toEndWith(`\r\n\r\n${chunk("uno")}${chunk("due")}${chunk("tre")}${LAST_CHUNK}`);
    expect(wire.closed).toBeUndefined();
  });

  test("each part of the request before the next one is sent", async () => {
    let received = "";
    const bare = createServer((connection) => {
      connection.on("data", (bytes) => {
        received += bytes.toString("latin1");
        if (received.endsWith(LAST_CHUNK)) connection.write("HTTP/1.1 204 No Content\r\n\r\n");
      });
    });
    await new Promise<void>((resolve) => bare.listen(0, "127.0.0.1", resolve));
    atEnd(() => void bare.close());
    const { port } = bare.address() as { port: number };
    const socket = inDirectory();
    await start(socket, { url: `http://127.0.0.1:${port}/v1/responses` });
    const wire = await open(socket, `${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
    for (const word of ["one", "two", "three"]) {
      wire.send(chunk(word));
      await until(() => received.endsWith(chunk(word)), `${word} to reach the upstream`);
    }
    wire.send(LAST_CHUNK);
    await wire.until(/^HTTP\/1\.1 204 /);
  });

  test("many megabytes each way, whole", async () => {
    const body = crypto.getRandomValues(Buffer.alloc(65_536)).toString("latin1").repeat(128);
    const echo = new RawUpstream({
      answer: (connection, request) => {
        expect(request.body === body).toBe(true);
        connection.write("HTTP/1.1 204 No Content\r\n\r\n");
      },
    });
    const socket = inDirectory();
    await start(socket, { url: echo.url });
    const { status } = await roundTrip(socket, `${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`);
    expect(status).toBe(204);
    expect(echo.requests).toHaveLength(1);
    const large = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response(Buffer.from(body, "latin1")),
    });
    atEnd(() => large.stop(true));
    const other = inDirectory();
    await start(other, { url: `http://127.0.0.1:${large.port}/v1/responses` });
    const answer = await roundTrip(other, REQUEST);
    expect(answer.body === body).toBe(true);
  });

  test("the client leaves, and the upstream's connection is closed: waiting, in a stream, while it sends", async () => {
    const WHEN: [request: string, answer: string][] = [
      [REQUEST, ""],
      [REQUEST, STREAM + chunk("ok")],
    ];
    for (const [request, answer] of WHEN) {
      const { url, next, closed } = holding();
      const socket = inDirectory();
      await start(socket, { url });
      const wire = await open(socket, request);
      const connection = await next();
      if (answer !== "") {
        connection.write(answer);
        await wire.until(/ok\r\n$/);
      }
      wire.socket.destroy();
      await within(closed, "the upstream's connection to be closed");
    }
    const uploads = new RawUpstream();
    const closed = Promise.withResolvers<void>();
    uploads.onClose = closed.resolve;
    const socket = inDirectory();
    await start(socket, { url: uploads.url });
    const wire = await open(socket, `${HEAD}Content-Length: 1000000\r\n\r\n${"a".repeat(300_000)}`);
    await until(() => uploads.bytesReceived > 100_000, "a part of the body");
    wire.socket.destroy();
    await within(closed.promise, "the upstream's connection to be closed");
    expect(uploads.requests).toEqual([]);
  });

  const CUT: [framing: string, answer: string][] = [
    ["in chunks", STREAM + chunk("ok\r\n")],
    [
      "of known length",
      "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2000000\r\n\r\n" +
        "a".repeat(999_996) +
        "ok\r\n",
    ],
  ];
  describe.each(CUT)(
    "an answer %s that the upstream breaks off is never taken for whole",
    (_framing, answer) => {
      test.each(["reset", "end"] as const)("by %s", async (how) => {
        const { url, next } = holding();
        const socket = inDirectory();
        await start(socket, { url });
        const wire = await open(socket, REQUEST);
        const connection = await next();
        connection.write(answer);
        await wire.until(/ok\r\n(\r\n)?$/);
        connection[how]();
        await wire.untilClosed();
        expect(wire.received).toStartWith("HTTP/1.1 200 OK\r\n");
        expect(wire.received).not.toEndWith("\r\n0\r\n\r\n");
        expect(wire.received).toMatch(/ok\r\n(\r\n)?$/);
      });
    },
  );

  test("a reset before the head: 502", async () => {
    const { url, next } = holding();
    const socket = inDirectory();
    await start(socket, { url });
    const asked = roundTrip(socket, REQUEST);
    (await next()).reset();
    const { status, body } = await asked;
    expect({ status, code: JSON.parse(body).error.code }).toEqual({
      status: 502,
      code: "upstream_broke_off",
    });
  });

  test("a connection is kept for the next request", async () => {
    const socket = inDirectory();
    await start(socket);
    const wire = await open(socket);
    for (let count = 1; count <= 3; count++) {
      wire.send(REQUEST);
      await until(() => wire.received.split("\r\n\r\nok").length === count + 1, `answer ${count}`);
    }
    expect(wire.closed).toBeUndefined();
  });
});

/** Listens on a Unix socket and says nothing. */
function listenOn(path: string): void {
  const listener = Bun.listen({ unix: path, socket: { data() {} } });
  atEnd(() => listener.stop(true));
}

/** The TCP ports that a process listens on. */
function listeningPorts(pid: number): number[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    const { stdout } = Bun.spawnSync(["readlink", `/proc/${pid}/fd/${fd}`]);
    return stdout.toString().trim();
  });
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === "0A" && links.includes(`socket:[${fields[9]}]`))
      .map((fields) => Number.parseInt(fields[1]!.split(":")[1]!, 16)),
  );
}
