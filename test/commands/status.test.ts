// `status` and `wait`: what they say of a proxy that is there, of one that is gone, and of what only looks like one.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { version } from "../../package.json";
import { atEnd } from "../harness/cleanup.ts";
import { until } from "../harness/deadline.ts";
import { inNamespace } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { BINARY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const SERVER = `server: responses-api-proxy/${version}`;

const upstream = new RawUpstream();
const infoFile = (): string => join(temporaryDirectory(), "server-info.json");
const start = (file: string, more: { launcher?: string[]; args?: string[]; binary?: string } = {}) =>
  Proxy.start({
    ...more,
    args: ["--server-info", file, `--upstream-url=${upstream.url}`, ...(more.args ?? [])],
  });
const ended = (exitCode: number, stdout: string, stderr: string) => ({
  exitCode,
  signal: null,
  stdout,
  stderr,
});
const error = (text: string) => ended(1, "", `responses-api-proxy: error: ${text}\n`);

/** A program that answers as a proxy of ours would, which anybody can write. */
function impostor(hostname = "127.0.0.1"): number {
  const answer = `HTTP/1.1 403 Forbidden\r\nServer: responses-api-proxy/${version}\r\nContent-Length: 0\r\n\r\n`;
  const listener = Bun.listen({
    hostname,
    port: 0,
    socket: { data: (socket) => void socket.write(answer) },
  });
  atEnd(() => listener.stop(true));
  return listener.port;
}

describe("the Server field", () => {
  test("stands in errors of our own, and in nothing that is passed on", async () => {
    const proxy = await start(infoFile());
    const refused = await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    expect(refused.status).toBe(403);
    expect(refused.fields.map(([name, value]) => `${name}: ${value}`)).toContain(SERVER);
    const passed = await roundTrip(proxy.port, REQUEST);
    expect(passed.status).toBe(200);
    expect(passed.fields.map(([name]) => name)).not.toContain("server");
  });

  test("of the upstream's stays the upstream's", async () => {
    const other = new RawUpstream({
      answer: "HTTP/1.1 403 Forbidden\r\nServer: upstream/1\r\nContent-Length: 0\r\n\r\n",
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${other.url}`] });
    const { fields } = await roundTrip(proxy.port, REQUEST);
    expect(fields.filter(([name]) => name === "server")).toEqual([["server", "upstream/1"]]);
  });
});

describe("status", () => {
  test.skipIf(lacks("/proc without hidepid"))(
    "of a proxy that is alive: where, who, since when, and exit code 0 (needs /proc without hidepid)",
    async () => {
      const file = infoFile();
      const [before, asked] = [Date.now(), upstream.connections];
      const proxy = await start(file);
      const { exitCode, stdout, stderr } = await runProgram({ args: ["status", file] });
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      const [, since] = new RegExp(
        `^responses-api-proxy ${version} on http://127\\.0\\.0\\.1:${proxy.port}, pid ${proxy.pid}, since (\\S+)\n$`,
      ).exec(stdout)!;
      // The kernel's time of boot is in whole seconds.
      expect(Date.parse(since!)).toBeGreaterThan(before - 2000);
      expect(Date.parse(since!)).toBeLessThan(Date.now() + 2000);

      const json = await runProgram({ args: ["status", "--json", file] });
      const { port, pid } = proxy;
      expect(json.exitCode).toBe(0);
      expect(JSON.parse(json.stdout)).toEqual({ alive: true, port, pid, version, since });
      expect(upstream.connections).toBe(asked);
    },
  );

  const OTHERS: [whose: string, launcher: string[], args: string[]][] = [
    ["another user's", as(ALICE), []],
    ["root's with --user", [], [`--user=${ALICE}`]],
  ];
  test.skipIf(lacks("root", "/proc without hidepid")).each(OTHERS)(
    "is everybody's to ask: of %s (needs root, /proc without hidepid)",
    async (_whose, launcher, args) => {
      const directory = temporaryDirectory();
      const file = join(directory, "server-info.json");
      chownSync(directory, ALICE, ALICE);
      const binary = reachableBinary(UNREADABLE);
      const proxy = await start(file, { launcher, args, binary });
      const bob = (...args: string[]) =>
        runProgram({ launcher: as(BOB), args: ["status", file, ...args], binary });
      // Believed only by who says whose it is.
      expect((await bob()).stderr).toContain(`the directory ${directory} is user ${ALICE}'s\n`);
      const { exitCode, stdout } = await bob(`--of-user=${ALICE}`);
      expect(stdout).toContain(`pid ${proxy.pid}, since 20`);
      expect(exitCode).toBe(0);
    },
  );

  test("of a proxy that was killed: stale, exit code 1", async () => {
    const file = infoFile();
    const proxy = await start(file);
    proxy.signal("SIGKILL");
    await proxy.ended();
    expect(existsSync(file)).toBe(true);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      error(`'${file}' is stale: process ${proxy.pid} is gone`),
    );
    const json = await runProgram({ args: ["status", file, "--json"] });
    const reason = `process ${proxy.pid} is gone`;
    expect(json).toEqual(ended(1, `${JSON.stringify({ alive: false, stale: true, reason })}\n`, ""));
  });

  test("of a port that nobody listens on, and of one that is another program's", async () => {
    const file = infoFile();
    writeFileSync(file, `{"port":1,"pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      error(`'${file}' is stale: port 1 does not answer (ECONNREFUSED)`),
    );
    writeFileSync(file, `{"port":${upstream.port},"pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      error(`'${file}' is stale: port ${upstream.port} answers as another program`),
    );
  });

  test("of a port that stays silent: says so within seconds", async () => {
    const file = infoFile();
    const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    atEnd(() => silent.stop(true));
    writeFileSync(file, `{"port":${silent.port},"pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["status", file] })).toEqual(
      error(`'${file}' is stale: port ${silent.port} does not answer (ETIMEDOUT)`),
    );
  });

  test.skipIf(lacks("root"))(
    "of a port and a process ID that another user took over: not believed either (needs root)",
    async () => {
      const file = infoFile();
      const port = impostor();
      writeFileSync(file, `{"port":${port},"pid":${process.pid}}\n`);
      chownSync(file, ALICE, ALICE);
      expect(await runProgram({ args: ["status", file, `--of-user=${ALICE}`] })).toEqual(
        error(`'${file}' is stale: port ${port} is user 0's, and the proxy was user ${ALICE}'s`),
      );
    },
  );

  test.skipIf(lacks("root"))(
    "whose file root has taken: believed, unless the process is younger than the file (needs root)",
    async () => {
      const directory = temporaryDirectory();
      chownSync(directory, ALICE, ALICE);
      const file = join(directory, "info.json");
      const proxy = await start(file, { args: [`--user=${ALICE}`], binary: reachableBinary(UNREADABLE) });
      chownSync(file, 0, 0);
      expect((await runProgram({ args: ["status", file, `--of-user=${ALICE}`] })).stdout).toContain(
        `pid ${proxy.pid}, since `,
      );
      const before = Date.now() / 1000 - 60;
      utimesSync(file, before, before);
      expect(await runProgram({ args: ["status", file, `--of-user=${ALICE}`] })).toEqual(
        error(`'${file}' is stale: process ${proxy.pid} is another, started later than the file was written`),
      );
    },
  );

  test.skipIf(lacks("/proc without hidepid"))(
    "whose file is older than its start by the clock, which may have been set since: believed (needs /proc without hidepid)",
    async () => {
      const file = infoFile();
      const proxy = await Proxy.start({ args: ["--server-info", file] });
      const before = Date.now() / 1000 - 60;
      utimesSync(file, before, before);
      expect((await runProgram({ args: ["status", file] })).stdout).toContain(`pid ${proxy.pid}, since `);
    },
  );

  test.skipIf(lacks("root"))(
    "of a port that another user took over: not believed, whatever it answers (needs root)",
    async () => {
      const file = infoFile();
      const port = impostor();
      const child = Bun.spawn([...as(ALICE), "sleep", "60"]);
      atEnd(() => child.kill());
      // The user is another only once setpriv has become sleep.
      await until(() => readFileSync(`/proc/${child.pid}/comm`, "utf8") === "sleep\n", "sleep");
      writeFileSync(file, `{"port":${port},"pid":${child.pid}}\n`);
      expect(await runProgram({ args: ["status", file] })).toEqual(
        error(`'${file}' is stale: port ${port} is user 0's, and the proxy was user ${ALICE}'s`),
      );
    },
  );

  test.skipIf(lacks("root", "mount namespaces"))(
    "where /proc hides whose the process is: a port of another user's is not believed, root's is (needs root, mount namespaces)",
    async () => {
      const file = infoFile();
      const binary = reachableBinary();
      const launcher = [...inNamespace("mount -t proc -o hidepid=2 proc /proc"), ...as(ALICE)];
      const asked = { binary, launcher, args: ["status", file] };
      const { port } = await Proxy.start({ binary, launcher: as(BOB) });
      writeFileSync(file, `{"port":${port},"pid":${process.pid}}\n`);
      expect(await runProgram(asked)).toEqual(
        error(
          `no proxy by '${file}': port ${port} is user ${BOB}'s, and /proc does not show whose process ${process.pid} is`,
        ),
      );
      const roots = impostor();
      writeFileSync(file, `{"port":${roots},"pid":${process.pid}}\n`);
      expect(await runProgram(asked)).toEqual(
        ended(0, `responses-api-proxy ${version} on http://127.0.0.1:${roots}, pid ${process.pid}\n`, ""),
      );
    },
  );

  describe.skipIf(lacks("root"))("of a file that another user could have put there (needs root)", () => {
    /** What `status` and `wait` say of a file, written here and then given another owner or place. */
    async function told(arrange: (directory: string, file: string) => string, max = "0"): Promise<string[]> {
      const directory = temporaryDirectory();
      const written = join(directory, "info.json");
      writeFileSync(written, `{"port":${impostor()},"pid":${process.pid}}\n`);
      const file = arrange(directory, written);
      const said = [];
      for (const command of [["status"], ["wait", `--max=${max}`]]) {
        const { exitCode, stdout, stderr } = await runProgram({ args: [...command, file] });
        expect(stdout === "").toBe(exitCode !== 0);
        // Only if one user could have put it there does believing that user help.
        const owner = / is user (\d+)'s\n/.exec(stderr)?.[1];
        expect(/--of-user=(\d+)/.exec(stderr)?.[1]).toBe(owner!);
        said.push(stdout + stderr.split("\n")[0]!.replace(/ in 0 s/, ""));
      }
      // Both for the same reason, or both not.
      if (said[1]!.includes("error:"))
        expect(said[0]!.replace(/.*: /, "")).toBe(said[1]!.replace(/.*: /, ""));
      else expect(said[1]).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n$/);
      return [said[0]!];
    }
    const PLACES: [where: string, arrange: (directory: string, file: string) => string, reason: RegExp][] = [
      [
        "of theirs, in a sticky directory such as /tmp",
        (directory, file) => {
          chmodSync(directory, 0o1777);
          chownSync(file, BOB, BOB);
          return file;
        },
        /the file is user 61235's$/,
      ],
      [
        "in a directory that others may write in",
        (directory, file) => {
          chmodSync(directory, 0o777);
          return file;
        },
        /others may write to the directory /,
      ],
      [
        "in a directory of theirs",
        (directory, file) => {
          chownSync(directory, BOB, BOB);
          return file;
        },
        /the directory \S+ is user 61235's$/,
      ],
      [
        "below a symlink of theirs",
        (directory) => {
          symlinkSync(".", join(directory, "way"));
          lchownSync(join(directory, "way"), BOB, BOB);
          return join(directory, "way/info.json");
        },
        /the symlink \S+ is user 61235's$/,
      ],
    ];
    test.each(PLACES)("%s: not believed", async (_where, arrange, reason) => {
      expect(await told(arrange)).toEqual([expect.stringMatching(reason)]);
    });

    test("below a symlink of one's own: believed", async () => {
      const said = await told((directory) => {
        symlinkSync(".", join(directory, "way"));
        return join(directory, "way/info.json");
      }, "10s");
      expect(said[0]).toStartWith(`responses-api-proxy ${version} on http://127.0.0.1:`);
    });

    test("of one's own in a sticky directory: believed", async () => {
      const said = await told((directory, file) => {
        chmodSync(directory, 0o1777);
        return file;
      }, "10s");
      expect(said[0]).toStartWith(`responses-api-proxy ${version} on http://127.0.0.1:`);
    });
  });

  test("--of-user names a user that there is", async () => {
    const { exitCode, stderr } = await runProgram({ args: ["status", "x", "--of-user=nobody-of-that-name"] });
    expect(exitCode).toBe(2);
    expect(stderr).toStartWith("responses-api-proxy: error: --of-user 'nobody-of-that-name' is no user\n");
  });

  test("of a program that answers as we do, on more addresses than ours", async () => {
    const file = infoFile();
    for (const hostname of ["0.0.0.0", "::"]) {
      const port = impostor(hostname);
      writeFileSync(file, `{"port":${port},"pid":${process.pid}}\n`);
      expect(await runProgram({ args: ["status", file] })).toEqual(
        error(`'${file}' is stale: port ${port} is another program's, on another address than 127.0.0.1`),
      );
    }
    // The neighbour, which nobody can tell from us: a program of the same user on the same address.
    writeFileSync(file, `{"port":${impostor()},"pid":${process.pid}}\n`);
    expect((await runProgram({ args: ["status", file] })).exitCode).toBe(0);
  });

  const NO_FILES: [what: string, make: (file: string) => void, reason: string][] = [
    ["nothing", () => {}, "there is no such file"],
    ["a directory", (file) => mkdirSync(file), "it is a directory"],
    ["a FIFO", (file) => void Bun.spawnSync(["mkfifo", file]), "it is a FIFO"],
    ["another file", (file) => writeFileSync(file, '{"port":1}\n'), "it is no server-info file"],
    ["an empty file", (file) => writeFileSync(file, ""), "it is no server-info file"],
    ["no port", (file) => writeFileSync(file, '{"port":65536,"pid":1}\n'), "it is no server-info file"],
    ["no process", (file) => writeFileSync(file, '{"port":1,"pid":0}\n'), "it is no server-info file"],
  ];
  test.each(NO_FILES)("where there is %s: exit code 1", async (_what, make, reason) => {
    const file = infoFile();
    make(file);
    expect(await runProgram({ args: ["status", file] })).toEqual(error(`no proxy by '${file}': ${reason}`));
  });
});

describe("wait", () => {
  // Both well before they would give up, or runProgram would.
  test("writes the base URL once the proxy is ready", async () => {
    const file = infoFile();
    const waiting = runProgram({ args: ["wait", file, "--max=2m"] });
    const proxy = await start(file);
    expect(await waiting).toEqual(ended(0, `${proxy.baseUrl}\n`, ""));
  });

  test("waits a file of an earlier run out", async () => {
    const file = infoFile();
    // Another program has the port by now, so it is seen when somebody looks there.
    const other = new RawUpstream();
    writeFileSync(file, `{"port":${other.port},"pid":${process.pid}}\n`);
    const waiting = runProgram({ args: ["wait", file, "--max=2m"] });
    await until(() => other.connections > 0, "wait to look at the port in the file");
    const proxy = await start(file);
    expect(await waiting).toEqual(ended(0, `${proxy.baseUrl}\n`, ""));
  });

  test("gives up in time, and says why: no file, a stale one, a silent port", async () => {
    const file = infoFile();
    expect(await runProgram({ args: ["wait", file, "--max=50ms"] })).toEqual(
      error(`no proxy by '${file}' in 0.05 s: there is no such file`),
    );
    writeFileSync(file, `{"port":1,"pid":${process.pid}}\n`);
    expect(await runProgram({ args: ["wait", file, "--max", "0s"] })).toEqual(
      error(`no proxy by '${file}' in 0 s: port 1 does not answer (ECONNREFUSED)`),
    );
    const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    atEnd(() => silent.stop(true));
    writeFileSync(file, `{"port":${silent.port},"pid":${process.pid}}\n`);
    const timed = async (...args: string[]) => {
      const began = performance.now();
      const { stderr } = await runProgram({ args });
      return { stderr, ms: performance.now() - began };
    };
    const inTime = await timed("wait", file, "--max=300ms");
    expect(inTime.stderr).toBe(
      `responses-api-proxy: error: no proxy by '${file}' in 0.3 s: port ${silent.port} does not answer (ETIMEDOUT)\n`,
    );
    // Sooner than whoever has all the time that a silent port is given.
    expect(inTime.ms).toBeLessThan((await timed("status", file)).ms);
  });

  test("leaves nothing open at a look, whatever is in the way of the file", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "plain"), "");
    symlinkSync("loop", join(directory, "loop"));
    mkdirSync(join(directory, "open"));
    chmodSync(join(directory, "open"), 0o777);
    const IN_THE_WAY: [way: string, reason: string][] = [
      ["none/info", "there is no such file"],
      ["plain/info", "it cannot be read (ENOTDIR)"],
      ["loop/info", "it cannot be read (ELOOP)"],
      ["open/info", `others may write to the directory ${directory}/open`],
      ["info", "there is no such file"],
    ];
    await Promise.all(
      IN_THE_WAY.map(async ([way, reason]) => {
        const file = join(directory, way);
        // With so few descriptors the reason would soon be EMFILE.
        const launcher = ["prlimit", "--nofile=64:64"];
        const args = ["wait", file, "--max=3s"];
        expect(await runProgram({ launcher, args })).toEqual(
          error(`no proxy by '${file}' in 3 s: ${reason}`),
        );
      }),
    );
  });

  test.skipIf(lacks("curl"))("in a script, as docs/commands.md has it (needs curl)", async () => {
    const script = `
      echo sk-x | "$0" --http-shutdown --server-info info.json 2>/dev/null &
      url="$("$0" wait info.json)" && "$0" status info.json >/dev/null && curl --fail --silent "$url/shutdown"
      wait
      "$0" status info.json 2>/dev/null || echo "ended"`;
    const start = { binary: "sh", args: ["-c", script, BINARY], cwd: temporaryDirectory() };
    expect(await runProgram(start)).toEqual(ended(0, "ended\n", ""));
  });
});

const REFUSED: [args: string[], message: string, hint: string][] = [
  [["doctr"], "unexpected argument 'doctr'", "did you mean doctor?"],
  [
    ["--strict", "status"],
    "unexpected argument 'status'",
    "a subcommand goes first: responses-api-proxy status …",
  ],
  [
    ["status"],
    "status needs the server-info file",
    "responses-api-proxy status FILE, the one that --server-info named at the proxy's start",
  ],
  [
    ["wait", ""],
    "wait needs the server-info file",
    "responses-api-proxy wait FILE, the one that --server-info named at the proxy's start",
  ],
  [["status", "--jsn"], "unknown flag '--jsn'", "did you mean --json?"],
  [["status", "a", "b"], "unexpected argument 'b'", ""],
  [["wait", "--", "a"], "unexpected argument '--'", ""],
  [["wait", "a", "--max"], "--max needs a value", ""],
  [["status", "a", "--json=yes"], "--json takes no value, got 'yes'", ""],
  [["doctor", "--json", "--json"], "--json is given more than once", ""],
  ...["s", "25h", "1.5s", "-1s", "1441m", "1e3s"].map((text): [string[], string, string] => [
    ["wait", "a", `--max=${text}`],
    `--max must be a duration of at most 24h, got '${text}'`,
    "give it as 500ms, 10s, 2m or 1h; a plain number is seconds",
  ]),
];

describe("refused with exit code 2", () => {
  test.each(REFUSED)("%j", async (args, message, hint) => {
    const program = /^(status|wait|doctor)$/.test(args[0]!)
      ? `responses-api-proxy ${args[0]}`
      : "responses-api-proxy";
    const hints = [...(hint === "" ? [] : [hint]), `${program} --help shows all flags`];
    const lines = [`error: ${message}`, ...hints.map((text) => `hint: ${text}`)];
    const stderr = lines.map((line) => `responses-api-proxy: ${line}\n`).join("");
    expect(await runProgram({ args })).toEqual(ended(2, "", stderr));
  });

  test("a key in the place of a file, which is not repeated", async () => {
    const { exitCode, stderr } = await runProgram({ args: ["status", "sk-proj-0123456789"] });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("error: the key must not be an argument");
    expect(stderr).not.toContain("0123456789");
  });
});

test.each(["doctor", "status", "wait"])("%s --help is its own", async (command) => {
  const { exitCode, stdout, stderr } = await runProgram({ args: [command, "--help"] });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toContain(`USAGE responses-api-proxy ${command} [OPTIONS]`);
  // doctor takes all options of a start, the others none.
  expect(stdout.includes("--strict")).toBe(command === "doctor");
});
