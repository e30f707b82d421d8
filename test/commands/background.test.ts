// --background: the start that returns. --exit-with-parent: the proxy that ends with whoever started it. --log-file.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { makePipe } from "../../native/files/descriptors.ts";
import { close } from "../../native/files/files.ts";
import { atEnd } from "../harness/cleanup.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import {
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  isAlive,
  Proxy,
  runProgram,
  temporaryDirectory,
} from "../harness/program.ts";
import { linesOf } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, reachableBinary } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const { url, port: upstreamPort } = new RawUpstream();

type Background = { pid: number; port: number; stderr: string; directory: string };

/** Starts one that returns; it is ended at the end of the test file. */
async function background(...args: string[]): Promise<Background> {
  const directory = temporaryDirectory();
  const info = join(directory, "info.json");
  const { exitCode, stdout, stderr } = await runProgram({
    args: ["--background", `--upstream-url=${url}`, `--server-info=${info}`, ...args],
    input: `${CANARY_KEY}\n`,
  });
  expect({ exitCode, stderr: exitCode === 0 ? "" : stderr }).toEqual({ exitCode: 0, stderr: "" });
  const { pid, port } = JSON.parse(readFileSync(info, "utf8"));
  atEnd(() => end(pid));
  expect(stdout).toBe(`http://127.0.0.1:${port}\n`);
  return { pid, port, stderr, directory };
}

/** Undefined for a descriptor that has been closed meanwhile. */
function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** The child of that name, once it has it. */
function childOf(parent: number, name: string): number | undefined {
  const pids = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ");
  const pid = pids.find(
    (child) => child !== "" && readFileSync(`/proc/${child}/comm`, "utf8") === `${name}\n`,
  );
  return pid === undefined ? undefined : Number(pid);
}

async function end(pid: number): Promise<void> {
  if (isAlive(pid)) process.kill(pid, "SIGTERM");
  await until(() => !isAlive(pid), "the proxy to end");
}

describe("--background", () => {
  test("returns when connections are accepted, prints the base URL, and leaves nothing of the caller's open", async () => {
    const { pid, port, stderr } = await background();
    expect((await roundTrip(port, REQUEST)).body).toBe("ok");
    expect(linesOf(stderr)[0]).toStartWith(`listening on http://127.0.0.1:${port}`);
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [, ppid, , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect(session).toBe(String(pid));
    expect(ppid).not.toBe(String(process.pid));
    if (lacks("root")) return;
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe("/dev/null");
    const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => targetOf(`/proc/${pid}/fd/${fd}`));
    expect(targets.filter((target) => target?.startsWith("pipe:"))).toEqual([]);
  });

  test("with --socket it prints the path", async () => {
    const directory = temporaryDirectory();
    const [socket, info] = [join(directory, "s"), join(directory, "i")];
    const args = ["--background", `--upstream-url=${url}`, `--socket=${socket}`, `--server-info=${info}`];
    const { stdout } = await runProgram({ args, input: CANARY_KEY });
    expect(stdout).toBe(`${socket}\n`);
    await end(JSON.parse(readFileSync(info, "utf8")).pid);
  });

  test("the log goes on in --log-file", async () => {
    const file = join(temporaryDirectory(), "log");
    const { pid, stderr } = await background(`--log-file=${file}`);
    expect(stderr).not.toContain("listening");
    await end(pid);
    expect(readFileSync(file, "utf8")).toMatch(/Z listening on [^]*Z SIGTERM: ending[^]*Z ended after /);
  });

  const CANNOT: [what: string, args: string[], input: string, exitCode: number, error: string][] = [
    ["no key", [], "", 1, "error: standard input has no key in it"],
    [
      "a wrong flag",
      ["--port=x"],
      CANARY_KEY,
      2,
      "error: --port must be a whole number from 0 to 65535, got 'x'",
    ],
    [
      "a port in use",
      [`--port=${upstreamPort}`, "--upstream-url=https://a.test/responses"],
      CANARY_KEY,
      1,
      `error: cannot listen on 127.0.0.1:${upstreamPort}`,
    ],
    [
      "--exit-with-parent",
      ["--exit-with-parent"],
      CANARY_KEY,
      2,
      "error: --background and --exit-with-parent contradict each other",
    ],
  ];
  test.each(CANNOT)("cannot start: %s", async (_what, args, input, exitCode, error) => {
    const ended = await runProgram({ args: ["--background", ...args], input });
    expect(ended).toMatchObject({ exitCode, stdout: "" });
    expect(linesOf(ended.stderr)[0]).toStartWith(error);
  });

  test("twice on one server-info file: the second is refused, and the first serves on", async () => {
    const { pid, port, directory } = await background();
    const info = join(directory, "info.json");
    const second = await runProgram({
      args: ["--background", `--upstream-url=${url}`, `--server-info=${info}`],
      input: CANARY_KEY,
    });
    expect(second).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr:
        `responses-api-proxy: error: '${info}' names a proxy that is running (pid ${pid}, port ${port})\n` +
        `responses-api-proxy: hint: end that proxy (kill ${pid}), or give each a --server-info file of its own\n`,
    });
    expect((await roundTrip(port, REQUEST)).body).toBe("ok");
    expect(JSON.parse(readFileSync(info, "utf8"))).toEqual({ port, pid });
  });

  test("on the server-info file of one that was killed and that nobody has reaped: it starts", async () => {
    const info = join(temporaryDirectory(), "info");
    // The shell becomes a program that waits for no child.
    const launcher = ["sh", "-c", 'exec 3<&0; "$0" "$@" <&3 3<&- & exec sleep 60 3<&-'];
    const parent = Bun.spawn([...launcher, BINARY, `--upstream-url=${url}`, `--server-info=${info}`], {
      stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
    });
    atEnd(() => parent.kill("SIGKILL"));
    await until(() => existsSync(info), "the server-info file");
    const { pid } = JSON.parse(readFileSync(info, "utf8")) as { pid: number };
    process.kill(pid, "SIGKILL");
    await until(() => /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8")), "a zombie");
    const args = ["--background", `--upstream-url=${url}`, `--server-info=${info}`];
    const { exitCode, stderr } = await runProgram({ args, input: CANARY_KEY });
    expect({ exitCode, isRunning: stderr.includes("is running") }).toEqual({ exitCode: 0, isRunning: false });
    const next = JSON.parse(readFileSync(info, "utf8")) as { pid: number };
    process.kill(next.pid, "SIGTERM");
    await until(() => !existsSync(info), "the proxy to end");
  });

  test("standard output that cannot be written: it fails, and no proxy is left", async () => {
    const info = join(temporaryDirectory(), "info");
    const { exitCode, stderr } = await runProgram({
      launcher: ["sh", "-c", 'exec "$0" "$@" >/dev/full'],
      args: ["--background", `--upstream-url=${url}`, `--server-info=${info}`],
      input: CANARY_KEY,
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("error: standard output cannot be written (ENOSPC)\n");
    await until(() => !existsSync(info), "the proxy to end");
  });

  test("its start is ended while the key is awaited: no proxy goes on waiting", async () => {
    const pipe = makePipe();
    const starter = Bun.spawn([BINARY, "--background", `--upstream-url=${url}`], {
      stdio: [pipe.reader, "ignore", "pipe"],
      env: BARE_ENVIRONMENT,
    });
    const proxy = (await until(() => childOf(starter.pid, "responses-proxy"), "the proxy"))!;
    atEnd(() => {
      if (isAlive(proxy)) process.kill(proxy, "SIGKILL");
    });
    starter.kill("SIGKILL");
    await until(() => !isAlive(proxy), "the proxy to end");
    expect(await new Response(starter.stderr).text()).toBe(
      "responses-api-proxy: error: the parent's end came before the key\n",
    );
    for (const fd of [pipe.reader, pipe.writer]) close(fd);
  });

  test("a takeover of its socket is none of that", async () => {
    const directory = temporaryDirectory();
    const [socket, info] = [join(directory, "s"), join(directory, "i")];
    const args = ["--background", `--upstream-url=${url}`, `--socket=${socket}`, `--server-info=${info}`];
    const pids: number[] = [];
    for (const _ of ["old", "new"]) {
      expect((await runProgram({ args, input: CANARY_KEY })).exitCode).toBe(0);
      pids.push(JSON.parse(readFileSync(info, "utf8")).pid);
    }
    expect(new Set(pids).size).toBe(2);
    expect((await roundTrip(socket, REQUEST)).body).toBe("ok");
    for (const pid of pids) await end(pid);
  });

  test("the variable that it uses, set by somebody else", async () => {
    const env = { RESPONSES_API_PROXY_STARTER: "background" };
    const { exitCode, stderr } = await runProgram({
      args: [`--upstream-url=${url}`],
      input: CANARY_KEY,
      env,
    });
    expect({ exitCode, lines: linesOf(stderr) }).toEqual({
      exitCode: 3,
      lines: [
        "error: RESPONSES_API_PROXY_STARTER is internal, and nobody reads what it asks for",
        "hint: unset RESPONSES_API_PROXY_STARTER",
      ],
    });
  });
});

describe("--exit-with-parent", () => {
  /** Starts a shell that starts a proxy, and waits. */
  async function startUnder(
    launcher: string[],
    binary: string,
    script = '"$@" & echo $!; read wait',
    flags = ["--exit-with-parent"],
  ): Promise<{ shell: Bun.Subprocess<"pipe", "pipe", "pipe">; pid: number; seen: () => string }> {
    const args = [binary, ...flags, `--upstream-url=${url}`];
    const file = join(temporaryDirectory(), "key");
    writeFileSync(file, CANARY_KEY);
    chmodSync(file, 0o644);
    const shell = Bun.spawn(
      [...launcher, "sh", "-c", script.replace('"$@"', `"$@" < ${file}`), "sh", ...args],
      {
        stdio: ["pipe", "pipe", "pipe"],
        env: BARE_ENVIRONMENT,
        cwd: "/",
      },
    );
    atEnd(() => shell.kill("SIGKILL"));
    let stderr = "";
    (async () => {
      for await (const text of shell.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
    })();
    const reader = shell.stdout.getReader();
    const pid = Number(new TextDecoder().decode((await reader.read()).value));
    atEnd(() => end(pid));
    await until(() => /protections: /.test(stderr), "the proxy to listen", { seen: () => stderr });
    return { shell, pid, seen: () => stderr };
  }

  test("the parent, killed: the proxy drains and ends, as if asked", async () => {
    const { shell, pid, seen } = await startUnder([], BINARY);
    expect(isAlive(pid)).toBe(true);
    shell.kill("SIGKILL");
    await until(() => !isAlive(pid), "the proxy to end");
    await until(() => /ended after/.test(seen()), "its last line", { seen });
    expect(seen()).toContain("responses-api-proxy: the parent's end: ending, 0 exchanges in flight\n");
  });

  test.skipIf(lacks("root"))(
    "a parent that has become another user: the kernel does not tell it, and it ends all the same (needs root)",
    async () => {
      const become = `"$@" & echo $!; read wait; exec ${as(BOB).join(" ")} true`;
      const { shell, pid } = await startUnder(["setpriv", "--reuid=0"], reachableBinary(0o711), `${become}`);
      shell.stdin.write("\n");
      shell.stdin.flush();
      await until(() => !isAlive(pid), "the proxy to end");
    },
  );

  test.skipIf(lacks("root"))("with --user: root's end is told (needs root)", async () => {
    const script = `"$@" --user=${ALICE} & echo $!; read wait`;
    const { shell, pid } = await startUnder([], reachableBinary(0o711), script);
    shell.kill("SIGKILL");
    await until(() => !isAlive(pid), "the proxy to end");
  });

  test.skipIf(lacks("root"))("a parent outside the PID namespace is refused (needs root)", async () => {
    const launcher = ["unshare", "--pid", "--fork", "--mount-proc"];
    const { exitCode, stderr } = await runProgram({
      launcher,
      args: ["--exit-with-parent"],
      input: CANARY_KEY,
    });
    expect({ exitCode, first: linesOf(stderr)[0] }).toEqual({
      exitCode: 1,
      first:
        "error: --exit-with-parent: the parent is in another PID namespace, and its end is not seen here",
    });
  });

  test("without it: the proxy lives on", async () => {
    const { shell, pid } = await startUnder([], BINARY, undefined, []);
    shell.kill("SIGKILL");
    // More than how often a proxy looks for its parent.
    await Bun.sleep(5500);
    expect(isAlive(pid)).toBe(true);
    await end(pid);
  });
});

describe("--log-file", () => {
  test("errors of the start go to standard error and to the file", async () => {
    const file = join(temporaryDirectory(), "log");
    const { stderr } = await runProgram({ args: [`--log-file=${file}`, `--upstream-url=${url}`], input: "" });
    expect(stderr).toContain("error: standard input has no key in it\n");
    expect(readFileSync(file, "utf8")).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]{12}Z error: standard input has no key in it\n/,
    );
  });

  test("--log-json has the same objects there", async () => {
    const file = join(temporaryDirectory(), "log");
    const { pid } = await background(`--log-file=${file}`, "--log-json");
    await end(pid);
    const events = readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).event);
    expect(events[0]).toBe("listening");
    expect(events.at(-1)).toBe("totals");
  });

  const directory = temporaryDirectory();
  mkdirSync(join(directory, "dir"));
  symlinkSync("/tmp/elsewhere", join(directory, "link"));
  writeFileSync(join(directory, "key"), CANARY_KEY, { mode: 0o600 });
  linkSync(join(directory, "key"), join(directory, "same"));
  const REFUSED: [path: string, args: string[], why: string][] = [
    ["dir", [], "it is a directory"],
    ["link", [], "it is a symlink"],
    ["no/such", [], "ENOENT"],
    ["same", [`--key-file=${directory}/key`], "--key-file leads to the same place"],
  ];
  test.each(REFUSED)("%s", async (name, more, why) => {
    const args = [`--log-file=${directory}/${name}`, `--upstream-url=${url}`, ...more];
    const { exitCode, stderr } = await runProgram({ args, input: CANARY_KEY });
    expect({ exitCode, first: linesOf(stderr)[0] }).toEqual({
      exitCode: 1,
      first: `error: cannot write --log-file '${directory}/${name}': ${why}`,
    });
  });

  test("a FIFO is refused at once, not waited for", async () => {
    const fifo = join(temporaryDirectory(), "fifo");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    const { exitCode, stderr } = await runProgram({ args: [`--log-file=${fifo}`], input: CANARY_KEY });
    expect({ exitCode, first: linesOf(stderr)[0] }).toEqual({
      exitCode: 1,
      first: `error: cannot write --log-file '${fifo}': it is a FIFO`,
    });
  });

  test.skipIf(lacks("root"))("another user's file, and with --user the user's own (needs root)", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "log");
    writeFileSync(file, "");
    chmodSync(file, 0o666);
    const { chownSync } = await import("node:fs");
    chownSync(file, BOB, BOB);
    const args = [`--log-file=${file}`, `--upstream-url=${url}`, `--user=${ALICE}`];
    const binary = reachableBinary(0o711);
    const refused = await runProgram({ binary, args, input: CANARY_KEY });
    expect(linesOf(refused.stderr)[0]).toEndWith(`': the file ${file} is user ${BOB}'s`);
    chmodSync(directory, 0o1777);
    const own = join(directory, "own");
    const proxy = await Proxy.start({
      binary,
      args: [`--log-file=${own}`, `--upstream-url=${url}`, `--user=${ALICE}`],
      input: "",
    }).catch((error: unknown) => error);
    expect(String(proxy)).toContain("standard input has no key");
    expect(statSync(own)).toMatchObject({ uid: ALICE });
    expect(statSync(own).mode & 0o777).toBe(0o600);
  });

  test("not in /dev", async () => {
    const { exitCode, stderr } = await runProgram({ args: ["--log-file=/dev/full"] });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--log-file must not be in / or /dev");
  });
});
