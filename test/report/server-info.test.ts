// The server-info file: its one line, its mode, what keeps it from being written, and when it is removed.

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
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { isAlive, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, BOB, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { chunk, open, REQUEST, STREAM } from "../harness/wire.ts";

const upstream = new RawUpstream();

function start(file: string, cwd = "/"): Promise<Proxy> {
  return Proxy.start({
    args: ["--http-shutdown", "--server-info", file, `--upstream-url=${upstream.url}`],
    cwd,
  });
}

describe("is written", () => {
  test("as one line, readable by all, in directories made for it, and no other file stays", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "made/for/it/server-info.json");
    const proxy = await start(file);
    expect(readFileSync(file, "utf8")).toBe(`{"port":${proxy.port},"pid":${proxy.pid}}\n`);
    expect(statSync(file).mode & 0o7777).toBe(0o644);
    expect(readdirSync(join(directory, "made/for/it"))).toEqual(["server-info.json"]);
    await proxy.stop();
    expect(existsSync(file)).toBe(false);
  });

  test("over the file of a running proxy, with a warning that names it; over that of one that has ended, without", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    const first = await start(file);
    const second = await start(file);
    expect(second.stderr).toContain(
      `warning: '${file}' names a proxy that is running (pid ${first.pid}, port ${first.port}): it is replaced\n` +
        `responses-api-proxy: hint: end that proxy (kill ${first.pid}), or give each a --server-info file of its own\n`,
    );
    second.signal("SIGKILL");
    await second.ended();
    expect(existsSync(file)).toBe(true);
    expect((await start(file)).stderr).not.toContain("names a proxy");
    // The first proxy leaves the second one's file alone.
    await first.stop();
    expect(existsSync(file)).toBe(true);
  });

  test("over a file that names another program's process: without a warning", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    writeFileSync(file, `{"port":1,"pid":${process.pid}}\n`);
    expect((await start(file)).stderr).not.toContain("names a proxy");
  });

  test("readable by all under a umask that forbids it", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    const launcher = ["sh", "-c", 'umask 077; exec "$0" "$@"'];
    await Proxy.start({ launcher, args: ["--server-info", file] });
    expect(statSync(file).mode & 0o777).toBe(0o644);
  });

  test("relative to the directory the program was started in", async () => {
    const cwd = temporaryDirectory();
    const proxy = await start("info.json", cwd);
    expect(JSON.parse(readFileSync(join(cwd, "info.json"), "utf8"))).toEqual({
      port: proxy.port,
      pid: proxy.pid,
    });
  });

  test("only once connections are accepted", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    const starting = start(file);
    await until(() => existsSync(file), file);
    const wire = await open(JSON.parse(readFileSync(file, "utf8")).port);
    wire.socket.destroy();
    await starting;
  });

  test("in place of the file of an earlier run", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    writeFileSync(file, "stale, and longer than what replaces it, so that a plain overwrite would show");
    chmodSync(file, 0o666);
    const proxy = await start(file);
    expect(readFileSync(file, "utf8")).toBe(`{"port":${proxy.port},"pid":${proxy.pid}}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o644);
  });

  test("in place of a symlink, never through it", async () => {
    const directory = temporaryDirectory();
    const victim = join(directory, "victim");
    const file = join(directory, "server-info.json");
    writeFileSync(victim, "untouched");
    symlinkSync(victim, file);
    const proxy = await start(file);
    expect(readFileSync(victim, "utf8")).toBe("untouched");
    expect(lstatSync(file).isSymbolicLink()).toBe(false);
    await proxy.stop();
    expect(readFileSync(victim, "utf8")).toBe("untouched");
  });

  test("in place of a FIFO, without waiting for its reader", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    await Bun.spawn(["mkfifo", file]).exited;
    await start(file);
    expect(lstatSync(file).isFile()).toBe(true);
  });
});

describe("cannot be written: one line, exit code 1, nothing left behind", () => {
  test("a directory is there", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "server-info.json");
    mkdirSync(file);
    const ended = await runProgram({ args: ["--server-info", file], input: "sk-x\n" });
    expect(ended).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: cannot write --server-info '${file}': it is a directory\nresponses-api-proxy: hint: name a file that may be replaced\n`,
    });
    expect(readdirSync(directory)).toEqual(["server-info.json"]);
  });

  const refusesToReplace = async (file: string, what: string): Promise<void> => {
    const { exitCode, stderr } = await runProgram({ args: ["--server-info", file], input: "sk-x\n" });
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(
      `responses-api-proxy: error: cannot write --server-info '${file}': it is a ${what}\n`,
    );
  };

  test("a socket is there, and stays", async () => {
    const socket = join(temporaryDirectory(), "socket");
    const listener = Bun.listen({ unix: socket, socket: { data() {} } });
    await refusesToReplace(socket, "socket");
    expect(lstatSync(socket).isSocket()).toBe(true);
    listener.stop();
  });

  test.skipIf(lacks("root"))("a device is there, and stays (needs root)", async () => {
    const device = join(temporaryDirectory(), "null");
    await Bun.spawn(["mknod", device, "c", "1", "3"]).exited;
    await refusesToReplace(device, "device");
    expect(lstatSync(device).isCharacterDevice()).toBe(true);
  });

  test("a file is where a directory should be", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "file"), "");
    const { exitCode, stderr } = await runProgram({
      args: ["--server-info", join(directory, "file/x")],
      input: "sk-x\n",
    });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^responses-api-proxy: error: cannot write --server-info '[^']+' \((ENOTDIR|EEXIST)\)\n$/,
    );
  });
});

describe.skipIf(lacks("root"))(
  "a path that another user could have changed is refused before anything starts (needs root)",
  () => {
    const refused = async (file: string): Promise<string> => {
      const { exitCode, stderr } = await runProgram({ args: ["--server-info", file], input: "sk-x\n" });
      expect(exitCode).toBe(1);
      return stderr.split("\n")[0]!;
    };

    test("another user's directory", async () => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, 0);
      expect(await refused(join(directory, "info.json"))).toEndWith(
        `the directory ${directory} is user ${ALICE}'s`,
      );
      expect(readdirSync(directory)).toEqual([]);
    });

    test("another user's symlink in the path; the neighbour: root's symlink", async () => {
      const directory = temporaryDirectory();
      mkdirSync(join(directory, "real"));
      symlinkSync("real", join(directory, "way"));
      const proxy = await start(join(directory, "way/info.json"));
      expect(JSON.parse(readFileSync(join(directory, "real/info.json"), "utf8"))).toEqual({
        port: proxy.port,
        pid: proxy.pid,
      });
      await proxy.stop();
      lchownSync(join(directory, "way"), ALICE, ALICE);
      expect(await refused(join(directory, "way/info.json"))).toEndWith(
        `the symlink ${directory}/way is user ${ALICE}'s`,
      );
      expect(readdirSync(join(directory, "real"))).toEqual([]);
    });

    test("another user's directory that root's symlink leads to", async () => {
      const theirs = temporaryDirectory();
      const directory = temporaryDirectory();
      symlinkSync(theirs, join(directory, "way"));
      chownSync(theirs, ALICE, 0);
      expect(await refused(join(directory, "way/info.json"))).toEndWith(
        `the directory ${theirs} is user ${ALICE}'s`,
      );
      expect(readdirSync(theirs)).toEqual([]);
    });

    test("nothing is made before the whole path is checked, and with --user nothing as root", async () => {
      const directory = temporaryDirectory();
      mkdirSync(join(directory, "victim"));
      symlinkSync("victim", join(directory, "way"));
      lchownSync(join(directory, "way"), ALICE, ALICE);
      await refused(join(directory, "way/made/info.json"));
      expect(readdirSync(join(directory, "victim"))).toEqual([]);
      const file = join(directory, "made/info.json");
      const args = [`--user=${BOB}`, "--server-info", file];
      const { exitCode, stderr } = await runProgram({
        args,
        binary: reachableBinary(UNREADABLE),
        input: "sk-x\n",
      });
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith(
        `responses-api-proxy: error: cannot write --server-info '${file}' (EACCES)\n`,
      );
      expect(existsSync(join(directory, "made"))).toBe(false);
    });

    test("another user's file is replaced by the proxy's own", async () => {
      const file = join(temporaryDirectory(), "info.json");
      writeFileSync(file, "theirs");
      chownSync(file, ALICE, ALICE);
      chmodSync(file, 0o666);
      await start(file);
      expect(statSync(file)).toMatchObject({ uid: 0, mode: 0o100644 });
    });
  },
);

describe("is removed", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("at %s", async (signal) => {
    const file = join(temporaryDirectory(), "server-info.json");
    const proxy = await start(file);
    proxy.signal(signal);
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(existsSync(file)).toBe(false);
  });

  test("at GET /shutdown", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    const proxy = await start(file);
    expect((await fetch(`${proxy.baseUrl}/shutdown`)).status).toBe(200);
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(existsSync(file)).toBe(false);
  });

  test("at once, while exchanges in flight go on", async () => {
    const file = join(temporaryDirectory(), "server-info.json");
    const slow = new RawUpstream({ answer: ({ write }) => write(STREAM + chunk("ok")) });
    const proxy = await Proxy.start({ args: ["--server-info", file, `--upstream-url=${slow.url}`] });
    const wire = await open(proxy.port, REQUEST);
    await wire.until(/ok\r\n$/);
    proxy.signal("SIGTERM");
    await until(() => !existsSync(file), `${file} to go`);
    expect(wire.closed).toBeUndefined();
    expect(isAlive(proxy.pid)).toBe(true);
    wire.socket.destroy();
    expect((await proxy.ended()).exitCode).toBe(0);
  });

  test("but not if another file has taken its place", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "server-info.json");
    const proxy = await start(file);
    writeFileSync(join(directory, "other"), "another's");
    renameSync(join(directory, "other"), file);
    await proxy.stop();
    expect(readFileSync(file, "utf8")).toBe("another's");
  });
});
