// What --server-info says of a proxy on a Unix socket, and what `status` and `wait` make of it: alive, gone, or another user's.

import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, lchownSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { version } from "../../package.json";
import { atEnd } from "../harness/cleanup.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();

async function start(name = "proxy.sock", args: string[] = []) {
  const directory = temporaryDirectory();
  const [socket, file] = [join(directory, name), join(directory, "info.json")];
  const all = [`--socket=${socket}`, `--server-info=${file}`, `--upstream-url=${upstream.url}`, ...args];
  return { proxy: await Proxy.start({ args: all }), directory, socket, file };
}

const stale = (file: string, reason: string) => ({
  exitCode: 1,
  signal: null,
  stdout: "",
  stderr: `responses-api-proxy: error: '${file}' is stale: ${reason}\n`,
});

/** A program that answers as a proxy would, on a socket. */
function impostor(path: string): void {
  const answer = `HTTP/1.1 403 Forbidden\r\nServer: responses-api-proxy/${version}\r\nContent-Length: 0\r\n\r\n`;
  const listener = Bun.listen({ unix: path, socket: { data: (socket) => void socket.write(answer) } });
  atEnd(() => listener.stop(true));
}

describe("the server-info file", () => {
  test("has the socket in place of the port, or both", async () => {
    const alone = await start();
    expect(readFileSync(alone.file, "utf8")).toBe(`{"socket":"${alone.socket}","pid":${alone.proxy.pid}}\n`);
    const { proxy, socket, file } = await start("proxy.sock", ["--port=0"]);
    expect(readFileSync(file, "utf8")).toBe(
      `{"port":${proxy.port},"socket":"${socket}","pid":${proxy.pid}}\n`,
    );
  });

  test.each(['a "quoted" name', "back\\slash", "Umläute", "a\ttab", "a, blank", 'end",'])(
    "is read again with %j in the socket's name",
    async (name) => {
      const { proxy, socket, file } = await start(name);
      const text = readFileSync(file, "utf8");
      expect(text).toBe(`{"socket":${JSON.stringify(socket)},"pid":${proxy.pid}}\n`);
      const { exitCode, stdout } = await runProgram({ args: ["status", "--json", file] });
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ alive: true, socket, pid: proxy.pid });
      expect((await roundTrip(socket, REQUEST)).status).toBe(200);
    },
  );

  test("names a running proxy to the next that is to write there", async () => {
    const { proxy, socket, file } = await start();
    const args = [`--socket=${socket}.2`, `--server-info=${file}`];
    expect((await Proxy.start({ args })).stderr).toContain(
      `warning: '${file}' names a proxy that is running (pid ${proxy.pid}, socket ${socket}): it is replaced\n`,
    );
  });

  const NONE: string[] = [
    '{"pid":1}',
    '{"socket":"/tmp/s","port":1,"pid":1}',
    '{"port":1,"socket":"/tmp/s"}',
    '{"socket":/tmp/s,"pid":1}',
    '{"socket":"/tmp/s"","pid":1}',
    '{"socket":"/tmp/\\x","pid":1}',
    '{"socket":"/tmp/s","socket":"/tmp/t","pid":1}',
    '{"socket":"/tmp/s","pid":1,"pid":2}',
    '{"socket":"/tmp/s", "pid":1}',
    '{"socket":["/tmp/s"],"pid":1}',
    '{"port":1,"port":2,"pid":1}',
  ];
  test.each(NONE)("is none: %s", async (text) => {
    const file = join(temporaryDirectory(), "info.json");
    writeFileSync(file, `${text}\n`);
    const { exitCode, stderr } = await runProgram({ args: ["status", file] });
    expect(exitCode).toBe(1);
    expect(stderr).toBe(`responses-api-proxy: error: no proxy by '${file}': it is no server-info file\n`);
  });

  const NOWHERE: [socket: string, reason: string][] = [
    ["", "socket  has no absolute path"],
    ["s", "socket s has no absolute path"],
    ["\0abstract", "socket \\u0000abstract has no absolute path"],
    ["/tmp/\0s", "socket /tmp/\\u0000s has no absolute path"],
    [`/${"a".repeat(200)}`, `socket /${"a".repeat(200)} does not answer (EINVAL)`],
  ];
  test.each(NOWHERE)("may name a socket that cannot be one: %j", async (socket, reason) => {
    const cwd = temporaryDirectory();
    impostor(join(cwd, "s"));
    const file = join(cwd, "info.json");
    writeFileSync(file, `${JSON.stringify({ socket, pid: process.pid })}\n`);
    expect(await runProgram({ args: ["status", file], cwd })).toEqual(stale(file, reason));
  });
});

describe("status and wait", () => {
  test("of a proxy on a socket: where, who, and the shape of the JSON", async () => {
    const { proxy, socket, file } = await start();
    const { pid } = proxy;
    const told = await runProgram({ args: ["status", file] });
    expect(told).toMatchObject({ exitCode: 0, stderr: "" });
    expect(told.stdout).toMatch(
      new RegExp(`^responses-api-proxy ${version} on ${socket}, pid ${pid}(, since \\S+)?\n$`),
    );
    const { stdout } = await runProgram({ args: ["status", file, "--json"] });
    const { since, ...rest } = JSON.parse(stdout);
    expect(rest).toEqual({ alive: true, socket, pid, version });
    if (!lacks("/proc without hidepid")) expect(Number.isNaN(Date.parse(since))).toBe(false);
    // A wait that a script uses as curl's --unix-socket.
    expect(await runProgram({ args: ["wait", file] })).toMatchObject({
      exitCode: 0,
      stdout: `${socket}\n`,
      stderr: "",
    });
    // Nobody has used the key, and none of it is counted.
    expect((await proxy.stop()).stderr).toMatch(/: 0 exchanges \(0 failed\), 0 refused\n$/);
  });

  test("of a proxy on both: the port for those who wait, both for the rest", async () => {
    const { proxy, socket, file } = await start("proxy.sock", ["--port=0"]);
    const { port, pid } = proxy;
    const told = await runProgram({ args: ["status", file] });
    expect(told.stdout).toContain(` on ${proxy.baseUrl} and ${socket}, pid ${pid}`);
    const { stdout } = await runProgram({ args: ["status", file, "--json"] });
    expect(JSON.parse(stdout)).toMatchObject({ alive: true, port, socket, pid, version });
    expect((await runProgram({ args: ["wait", file] })).stdout).toBe(`${proxy.baseUrl}\n`);
  });

  test("wait returns once it is ready", async () => {
    const directory = temporaryDirectory();
    const [socket, file] = [join(directory, "s"), join(directory, "info.json")];
    const waiting = runProgram({ args: ["wait", file, "--max=2m"] });
    await Proxy.start({ args: [`--socket=${socket}`, `--server-info=${file}`] });
    expect(await waiting).toMatchObject({ exitCode: 0, stdout: `${socket}\n` });
  });

  test("of a proxy that was killed: stale", async () => {
    const { proxy, socket, file } = await start();
    proxy.signal("SIGKILL");
    await proxy.ended();
    expect(existsSync(socket)).toBe(true);
    const reason = `process ${proxy.pid} is gone`;
    expect(await runProgram({ args: ["status", file] })).toEqual(stale(file, reason));
    // Its process ID is another's by now: nobody listens on the socket, or nothing is there.
    for (const [name, cause] of [
      [socket, "ECONNREFUSED"],
      [`${socket}.none`, "ENOENT"],
    ]) {
      writeFileSync(file, `{"socket":"${name}","pid":${process.pid}}\n`);
      expect(await runProgram({ args: ["status", file] })).toEqual(
        stale(file, `socket ${name} does not answer (${cause})`),
      );
    }
  });

  test("of a socket that stays silent, or is another program's", async () => {
    const directory = temporaryDirectory();
    const [socket, file] = [join(directory, "s"), join(directory, "info.json")];
    const silent = Bun.listen({ unix: socket, socket: { data() {} } });
    atEnd(() => silent.stop(true));
    writeFileSync(file, `{"socket":"${socket}","pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      stale(file, `socket ${socket} does not answer (ETIMEDOUT)`),
    );
    const other = Bun.serve({ unix: `${socket}.2`, fetch: () => new Response("hi") });
    atEnd(() => other.stop(true));
    writeFileSync(file, `{"socket":"${socket}.2","pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      stale(file, `socket ${socket}.2 answers as another program`),
    );
  });

  describe.skipIf(lacks("root"))("of a socket that another user could have put there (needs root)", () => {
    const PUT: [where: string, put: (directory: string, socket: string) => void][] = [
      ["in a directory that others may write in", (directory) => chmodSync(directory, 0o777)],
      ["in a directory of theirs", (directory) => chownSync(directory, BOB, BOB)],
    ];
    test.each(PUT)("%s: not believed", async (_where, put) => {
      const [file, directory] = [join(temporaryDirectory(), "info.json"), temporaryDirectory()];
      const socket = join(directory, "s");
      impostor(socket);
      writeFileSync(file, `{"socket":"${socket}","pid":${process.pid}}\n`);
      // The neighbour: nobody can tell a program of one's own from the proxy.
      expect((await runProgram({ args: ["status", file] })).exitCode).toBe(0);
      put(directory, socket);
      expect(await runProgram({ args: ["status", file] })).toEqual(
        stale(file, `socket ${socket} could have been put there by another user`),
      );
    });

    test("in a sticky directory, theirs: not believed; one's own: believed", async () => {
      const [file, directory] = [join(temporaryDirectory(), "info.json"), temporaryDirectory()];
      chmodSync(directory, 0o1777);
      const socket = join(directory, "s");
      impostor(socket);
      const child = Bun.spawn([...as(ALICE), "sleep", "60"]);
      atEnd(() => child.kill());
      writeFileSync(file, `{"socket":"${socket}","pid":${process.pid}}\n`);
      expect((await runProgram({ args: ["status", file] })).exitCode).toBe(0);
      lchownSync(socket, BOB, BOB);
      expect(await runProgram({ args: ["status", file] })).toEqual(
        stale(file, `socket ${socket} is user ${BOB}'s, and the proxy was user 0's`),
      );
    });

    test("of a proxy of ALICE's, asked by herself and by BOB, who may not connect", async () => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, ALICE);
      const [socket, file] = [join(directory, "s"), join(directory, "info.json")];
      const how = { binary: reachableBinary(UNREADABLE), launcher: as(ALICE) };
      const proxy = await Proxy.start({ ...how, args: [`--socket=${socket}`, `--server-info=${file}`] });
      expect((await runProgram({ ...how, args: ["status", file] })).stdout).toContain(`pid ${proxy.pid}`);
      const bob = await runProgram({
        ...how,
        launcher: as(BOB),
        args: ["status", file, `--of-user=${ALICE}`],
      });
      expect(bob).toEqual(stale(file, `socket ${socket} does not answer (EACCES)`));
    });
  });
});
