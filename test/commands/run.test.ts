// `run`: COMMAND is what it would be without us, but for an environment that leads to the proxy; and nothing is left behind.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { until } from "../harness/deadline.ts";
import { scanMemory } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { Output } from "../harness/output.ts";
import { BARE_ENVIRONMENT, BINARY, CANARY_KEY, runProgram, temporaryDirectory } from "../harness/program.ts";
import { linesOf, NO_TERMINAL, processesOf, runScript, runWith } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";

const upstream = new RawUpstream();
const { url } = upstream;
const TOKEN = /^[\w-]{43}$/;
const ONCE = /^ended after \d+ s: 0 exchanges \(0 failed\), 0 refused$/;
/** What an ordinary user is told of the start, before COMMAND; nothing if root starts it. */
const WARNINGS = linesOf((await runScript(url, "true")).stderr).slice(0, -1);
/** Asks the proxy with the token that COMMAND got, and prints the answer's status. */
const ASK = `curl -s -o /dev/null -w '%{http_code} ' -H "Authorization: Bearer $OPENAI_API_KEY" -d hi "$OPENAI_BASE_URL/responses"`;

/** Executes the words behind the last entry of an environment, which is NO_EQUALS, with exactly that environment. */
const EXECVE = `my @env; push @env, $_ = shift while !@env || $env[-1] ne "NO_EQUALS";
  my ($file, @args) = @ARGV; my $pack = sub { pack("P" x @_ . "x8", @_) };
  my ($argv, $envp) = ($pack->($file, @args), $pack->(@env));
  syscall(${process.arch === "x64" ? 59 : 221}, $file, $argv, $envp); die "$!"`;

/** COMMAND's whole environment. */
async function environmentOf(
  env: Record<string, string>,
  ...args: string[]
): Promise<Record<string, string>> {
  const { stdout } = await runWith(url, ["env", "-0"], { env, args });
  return Object.fromEntries(
    stdout
      .split("\0")
      .slice(0, -1)
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

describe("COMMAND's environment", () => {
  test("the caller's, without keys, and with what leads to the proxy", async () => {
    const {
      OPENAI_BASE_URL = "",
      OPENAI_API_KEY = "",
      ...others
    } = await environmentOf({
      OPENAI_API_KEY: CANARY_KEY,
      CODEX_API_KEY: "k",
      OPENAI_ADMIN_KEY: "k",
      AZURE_OPENAI_API_KEY: "k",
      MY_KEY: CANARY_KEY,
      CURL_HEADER: `Authorization: Bearer ${CANARY_KEY} and more`,
      HALF_A_KEY: CANARY_KEY.slice(1),
      OPENAI_BASE_URL: "http://elsewhere.test/v1",
      TMPDIR: "/tmp",
      LD_LIBRARY_PATH: "/nowhere",
      EMPTY: "",
      "dotted.name": "a=b",
    });
    expect(OPENAI_BASE_URL).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    expect(OPENAI_API_KEY).toMatch(TOKEN);
    expect(others).toEqual({
      ...BARE_ENVIRONMENT,
      HALF_A_KEY: CANARY_KEY.slice(1),
      TMPDIR: "/tmp",
      LD_LIBRARY_PATH: "/nowhere",
      EMPTY: "",
      "dotted.name": "a=b",
      OPENAI_API_BASE: OPENAI_BASE_URL,
      RESPONSES_API_PROXY_URL: OPENAI_BASE_URL.slice(0, -3),
      RESPONSES_API_PROXY_TOKEN: OPENAI_API_KEY,
      OPENAI_AGENTS_DISABLE_TRACING: "1",
      NO_PROXY: "127.0.0.1,localhost",
      no_proxy: "127.0.0.1,localhost",
    });
  });

  const NO_PROXY: [given: Record<string, string>, upper: string, lower: string][] = [
    [{ NO_PROXY: "a.test, localhost" }, "a.test,localhost,127.0.0.1", "a.test,localhost,127.0.0.1"],
    [{ no_proxy: "b.test" }, "b.test,127.0.0.1,localhost", "b.test,127.0.0.1,localhost"],
    [{ NO_PROXY: "a", no_proxy: "*" }, "a,127.0.0.1,localhost", "*"],
  ];
  test.each(NO_PROXY)("with %j", async (given, upper, lower) => {
    expect(await environmentOf(given)).toMatchObject({ NO_PROXY: upper, no_proxy: lower });
  });

  test("one of more than a megabyte, with the key in its last variable", async () => {
    const many = Object.fromEntries(
      Array.from({ length: 12 }, (_, index) => [`BIG${index}`, "x".repeat(100_000)]),
    );
    const seen = await environmentOf({ ...many, LAST: `…${CANARY_KEY}` });
    expect(seen).toMatchObject(many);
    expect(seen).not.toHaveProperty("LAST");
  });

  test("an entry that has no =, or the key in its name", async () => {
    const { stdout } = await runProgram({
      launcher: ["perl", "-e", EXECVE, CANARY_KEY, `${CANARY_KEY}=1`, "PATH=/usr/bin:/bin", "NO_EQUALS"],
      args: ["run", `--upstream-url=${url}`, "--", "env"],
      input: CANARY_KEY,
    });
    expect(stdout).not.toContain(CANARY_KEY);
    expect(stdout).toContain("NO_EQUALS\n");
  });

  test("10,000 variables with the key", async () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`V${index}`, CANARY_KEY]));
    const { stdout, exitCode } = await runWith(url, ["env"], { env: { ...many, LAST: "one" } });
    expect(exitCode).toBe(0);
    expect(stdout).not.toMatch(/^V\d/m);
    expect(stdout).toContain("LAST=one\n");
  });

  test("a key of a few characters is taken for a key only if it is the whole value", async () => {
    const { stdout } = await runScript(url, 'echo "$PART,${WHOLE-unset}"', {
      input: "bin\n",
      env: { PART: "cabin", WHOLE: "bin" },
    });
    expect(stdout).toBe("cabin,unset\n");
  });

  test("the key is in no process of the run, in no file, and in nothing that it says", async () => {
    const [home, temporary, cwd, programs] = [1, 2, 3, 4].map(() => temporaryDirectory()) as [
      string,
      string,
      string,
      string,
    ];
    // With a codex, there is a shim.
    writeFileSync(join(programs, "codex"), "#!/bin/sh\n", { mode: 0o755 });
    for (const directory of [home, temporary, cwd])
      writeFileSync(join(directory, "there"), `in ${directory}`);
    const environments = `for p in $$ $(ps -e -o pid,ppid | awk -v p=$$ '$2 == p { print $1 }'); do tr '\\0' '\\n' < /proc/$p/environ; tr '\\0' ' ' < /proc/$p/cmdline; done 2>&1`;
    const files = 'find "$HOME" "$TMPDIR" . -type f -print -exec cat {} +';
    const { stdout, stderr } = await runScript(url, `${ASK}; ${environments}; ${files}`, {
      env: {
        OPENAI_API_KEY: CANARY_KEY,
        OTHER: CANARY_KEY,
        HOME: home,
        TMPDIR: temporary,
        PATH: `${programs}:${BARE_ENVIRONMENT.PATH}`,
      },
      cwd,
    });
    expect(stdout).toStartWith("200 ");
    for (const directory of [home, temporary, cwd]) expect(stdout).toContain(`in ${directory}`);
    expect(stdout).toMatch(new RegExp(`^${temporary}/.+/codex$`, "m"));
    expect(stdout + stderr).not.toContain(CANARY_KEY.slice(0, 20));
    // And nothing is left.
    for (const directory of [home, temporary, cwd]) expect(readdirSync(directory)).toEqual(["there"]);
  });
});

describe("COMMAND is what it would be without us", () => {
  const CODES: [script: string, code: number][] = [
    ["exit 0", 0],
    ["exit 7", 7],
    ["exit 255", 255],
  ];
  test.each(CODES)("%s", async (script, exitCode) => {
    const { exitCode: code, signal, stderr } = await runScript(url, script);
    expect({ code, signal }).toEqual({ code: exitCode, signal: null });
    expect(linesOf(stderr)).toEqual([...WARNINGS, expect.stringMatching(ONCE)]);
  });

  test.each(["TERM", "KILL", "INT"])("ended by SIG%s", async (name) => {
    const { signal } = await runScript(url, `kill -${name} $$`, { launcher: [] });
    expect(signal).toBe(`SIG${name}` as NodeJS.Signals);
  });

  test("its pid is the one that was started", async () => {
    const { stdout } = await runProgram({
      binary: "sh",
      args: [
        "-c",
        'echo $$; exec "$@"',
        "sh",
        BINARY,
        "run",
        `--upstream-url=${url}`,
        "--",
        "sh",
        "-c",
        "echo $$",
      ],
      input: CANARY_KEY,
    });
    const [before, after] = stdout.trimEnd().split("\n");
    expect(after).toBe(before!);
  });

  test("arguments and environment are bytes", async () => {
    const raw = String.raw`V=$(printf '\377\200') exec "$0" "$@" "$(printf '\376 \303\244')"`;
    const { stdout } = await runProgram({
      launcher: ["sh", "-c", raw],
      args: ["run", `--upstream-url=${url}`, "--", "sh", "-c", 'printf %s "$V$1" | od -An -tx1', "sh"],
      input: CANARY_KEY,
    });
    expect(stdout).toBe(" ff 80 fe 20 c3 a4\n");
  });

  test("its standard input is the caller's with --key-file, else nothing", async () => {
    const file = join(temporaryDirectory(), "key");
    writeFileSync(file, CANARY_KEY, { mode: 0o600 });
    const given = await runWith(url, ["cat"], { args: [`--key-file=${file}`], input: "for COMMAND" });
    expect(given.stdout).toBe("for COMMAND");
    const start = { args: ["--key-file=key"], cwd: dirname(file), input: "for COMMAND" };
    expect((await runWith(url, ["cat"], start)).stdout).toBe("for COMMAND");
    const nothing = await runScript(url, "readlink /proc/self/fd/0; cat");
    expect(nothing.stdout).toBe("/dev/null\n");
  });

  test("its descriptors are the caller's and no others", async () => {
    const { stdout } = await runScript(url, "ls -l /proc/self/fd | awk '/->/ { print $9, $11 }' | sort -n", {
      launcher: ["sh", "-c", 'exec "$0" "$@" 5</dev/zero'],
    });
    expect(stdout.replace(/(pipe|socket):.*/g, "…").replace(/\/proc.*/, "")).toBe(
      "0 /dev/null\n1 …\n2 …\n3 \n5 /dev/zero\n",
    );
  });

  test("signals, umask, file limit and working directory are the caller's", async () => {
    const LOOK = "grep -E '^Sig(Blk|Ign)' /proc/self/status; umask; ulimit -Sn; ulimit -Hn; pwd";
    const launcher = ["sh", "-c", `trap '' HUP; umask 027; ulimit -Sn 200; cd /usr; "$0" "$@"; exit $?`];
    const [behind, direct] = await Promise.all([
      runScript(url, LOOK, { launcher }),
      runProgram({ launcher, binary: "sh", args: ["-c", LOOK] }),
    ]);
    expect(behind.stdout).toBe(direct.stdout);
    expect(direct.stdout).toContain("\n0027\n200\n");
  });

  const IGNORED = ["", "PIPE", "PIPE XFSZ", "HUP INT QUIT USR1 USR2 TERM PIPE XFSZ", "CHLD"];
  test.each(IGNORED)("signals that the caller's shell ignores: %s", async (names) => {
    const ignore = `$SIG{$_} = "IGNORE" for qw(${names}); system(@ARGV)`;
    const LOOK = ["grep", "SigIgn", "/proc/self/status"];
    const launcher = ["perl", "-e", ignore];
    const [behind, direct] = await Promise.all([
      runWith(url, LOOK, { launcher }),
      runProgram({ launcher, binary: LOOK[0]!, args: LOOK.slice(1) }),
    ]);
    expect(behind.stdout).toBe(direct.stdout);
  });

  test("a script without #! runs, as in a shell", async () => {
    const file = join(temporaryDirectory(), "script");
    writeFileSync(file, 'echo "$0 $1"\n', { mode: 0o755 });
    expect((await runWith(url, [file, "one"])).stdout).toBe(`${file} one\n`);
  });
});

describe("the proxy", () => {
  test("serves COMMAND from its first moment, and nobody without the token", async () => {
    const before = upstream.requests.length;
    const script = `${ASK}; curl -s -o /dev/null -w '%{http_code}' -d hi "$OPENAI_BASE_URL/responses"`;
    const { stdout, stderr } = await runScript(url, script);
    expect(stdout).toBe("200 401");
    expect(upstream.requests.slice(before).map(({ fields }) => new Map(fields).get("authorization"))).toEqual(
      [`Bearer ${CANARY_KEY}`],
    );
    expect(linesOf(stderr)).toEqual([
      ...WARNINGS,
      expect.stringMatching(/^ended after \d+ s: 1 exchange \(0 failed\), 1 refused; answers: 1 × 2xx$/),
    ]);
  });

  test("--allow-user by name: that user is served, and it can be told from another", async () => {
    // Where the tester's user has no name, its number.
    const username = Bun.spawnSync(["id", "-un"]).stdout.toString().trim() || String(process.getuid!());
    const served = await runScript(url, ASK, { args: [`--allow-user=${username}`] });
    expect(served.stdout).toBe("200 ");
    const other = username === "root" ? "nobody" : "root";
    expect((await runScript(url, ASK, { args: [`--allow-user=${other}`] })).stdout).toBe("403 ");
  });

  test("with --socket it listens on a port as well, and with --client-token the token is in the file", async () => {
    const directory = temporaryDirectory();
    const args = [`--socket=${directory}/s`, `--client-token=${directory}/t`, `--server-info=${directory}/i`];
    const script = `${ASK}; [ "$(cat ${directory}/t)" = "$OPENAI_API_KEY" ] && echo same`;
    expect((await runScript(url, script, { args })).stdout).toBe("200 same\n");
    expect(readdirSync(directory)).toEqual([]);
  });

  test("drains a stream after COMMAND's end, within --shutdown-timeout", async () => {
    const slow = new RawUpstream({ answer: () => {} });
    const script = `curl -s -d hi -H "Authorization: Bearer $OPENAI_API_KEY" "$OPENAI_BASE_URL/responses" & sleep 0.2; echo over`;
    const { stdout, stderr } = await runScript(slow.url, script, { args: ["--shutdown-timeout=100ms"] });
    expect(stdout).toBe("over\n");
    expect(linesOf(stderr).at(-1)).toMatch(/^ended after \d+ s: 1 exchange/);
  });
});

describe("who ends first", () => {
  const KILL_PROXY = (signal: string): string =>
    `for p in $(ps -o pid=,comm= --ppid $$ | awk '$2 == "responses-proxy" { print $1 }'); do kill -${signal} $p; done`;
  const WAIT = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; echo alive";

  test("the proxy, killed: COMMAND is told by SIGTERM, once", async () => {
    const { stdout, stderr, exitCode } = await runScript(
      url,
      `trap 'echo told' TERM; ${KILL_PROXY("KILL")}; ${WAIT}; exit 3`,
    );
    expect({ stdout, exitCode }).toEqual({ stdout: "told\nalive\n", exitCode: 3 });
    expect(linesOf(stderr)).toEqual([
      ...WARNINGS,
      "warning: the proxy ended before COMMAND, which was told by SIGTERM",
    ]);
  });

  test("the proxy, at the end of --lifetime: COMMAND is told", async () => {
    const { signal, stdout } = await runScript(url, WAIT, { args: ["--lifetime=50ms"], launcher: [] });
    expect({ signal, stdout }).toEqual({ signal: "SIGTERM", stdout: "" });
  });

  const ASKED = {
    "a signal": { script: KILL_PROXY("TERM"), args: [] },
    "GET /shutdown": {
      script: 'curl -s -H "Authorization: Bearer $OPENAI_API_KEY" "$RESPONSES_API_PROXY_URL/shutdown"',
      args: ["--http-shutdown"],
    },
  };
  test.each(Object.entries(ASKED))(
    "the proxy, asked by %s: COMMAND goes on",
    async (_by, { script, args }) => {
      const { stdout, stderr, exitCode } = await runScript(url, `${script}; ${WAIT}`, { args });
      expect({ stdout, exitCode }).toEqual({ stdout: "alive\n", exitCode: 0 });
      expect(linesOf(stderr)).toHaveLength(WARNINGS.length + 1);
    },
  );

  test("COMMAND, killed: the proxy ends, and nothing is left", async () => {
    const directory = temporaryDirectory();
    const args = [`--server-info=${directory}/i`];
    const { signal } = await runScript(url, "kill -KILL $$", {
      args,
      env: { TMPDIR: directory },
      launcher: [],
    });
    expect(signal).toBe("SIGKILL");
    expect(readdirSync(directory)).toEqual([]);
  });
});

test.skipIf(lacks("cc"))(
  "COMMAND's first thread ends before the others: the proxy serves on (needs cc)",
  async () => {
    const directory = temporaryDirectory();
    const [source, program] = [join(directory, "threads.c"), join(directory, "threads")];
    const code = `
    #include <pthread.h>
    #include <stdlib.h>
    #include <unistd.h>
    static void *go_on(void *_) {
      sleep(1);
      exit(system("curl -s -d hi -H \\"Authorization: Bearer $OPENAI_API_KEY\\" $OPENAI_BASE_URL/responses"));
    }
    int main(void) { pthread_t t; pthread_create(&t, 0, go_on, 0); pthread_exit(0); }`;
    writeFileSync(source, code);
    expect(Bun.spawnSync(["cc", "-w", "-pthread", "-o", program, source]).exitCode).toBe(0);
    const { stdout, stderr } = await runWith(url, [program]);
    expect(stdout).toBe("ok");
    expect(linesOf(stderr)).toEqual([...WARNINGS, expect.stringMatching(/^ended after \d+ s: 1 exchange/)]);
  },
);

describe("what is said", () => {
  test("before COMMAND: warnings; while it runs: nothing; at its end: the rest", async () => {
    const file = join(temporaryDirectory(), "both");
    const odd = url.replace("/responses", "/odd");
    const { stderr } = await runScript(
      odd,
      `echo COMMAND >&2; ${ASK.replace("-o /dev/null", "")}; echo END >&2`,
      {
        args: ["--log-level=debug"],
      },
    );
    const lines = linesOf(stderr).map((line) => line.replace(/\d+ s|\d{5}/g, "N"));
    const at = (pattern: RegExp): number => lines.findIndex((line) => pattern.test(line));
    expect(at(/^warning: the path of --upstream-url/)).toBeLessThan(at(/^COMMAND$/));
    expect(at(/^END$/)).toBe(at(/^COMMAND$/) + 1);
    expect(at(/#1/)).toBeGreaterThan(at(/^END$/));
    expect(at(/^ended after/)).toBeGreaterThan(at(/^END$/));
    expect(lines.filter((line) => line.startsWith("ended after"))).toHaveLength(1);
    expect(existsSync(file)).toBe(false);
  });

  test("more than is kept: the last of it, and how much is missing", async () => {
    const script = `i=0; while [ $i -lt 40 ]; do curl -s -o /dev/null "$RESPONSES_API_PROXY_URL/${"x".repeat(3000)}$i?[1-50]"; i=$((i+1)); done`;
    const { stderr } = await runScript(url, script, { args: ["--log-level=debug"] });
    expect(stderr).toMatch(
      /warning: \d+ bytes of the proxy's log were not kept\n.*hint: --log-file keeps all of it\n/,
    );
    expect(stderr.length).toBeLessThan(67_000);
  }, 60_000);

  const LEVELS: [level: string, said: number][] = [
    ["silent", 0],
    ["error", 0],
    ["warn", WARNINGS.length + 1],
  ];
  test.each(LEVELS)("--log-level=%s", async (level, lines) => {
    expect(linesOf((await runScript(url, "true", { args: [`--log-level=${level}`] })).stderr)).toHaveLength(
      lines,
    );
  });

  test("--log-json: the last line, too", async () => {
    const { stderr } = await runScript(url, "true", { args: ["--log-json"] });
    expect(JSON.parse(linesOf(stderr).at(-1)!)).toMatchObject({
      level: "info",
      event: "totals",
      message: expect.stringMatching(ONCE),
    });
  });

  test("--log-file has all of it, with times, for its owner alone; a second run appends", async () => {
    const file = join(temporaryDirectory(), "log");
    for (const _ of [1, 2])
      expect(linesOf((await runScript(url, "true", { args: [`--log-file=${file}`] })).stderr)).toEqual([
        ...WARNINGS,
        expect.stringMatching(ONCE),
      ]);
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(lines.filter((line) => /^\d{4}-\d\d-\d\dT[\d:.]+Z listening on /.test(line))).toHaveLength(2);
    expect(lines.filter((line) => /Z ended after /.test(line))).toHaveLength(2);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe("refused, with no proxy left", () => {
  const COMMANDS: [what: string, words: string[], exitCode: number, lines: string[]][] = [
    ["no --", ["run", "codex"], 2, ["error: run needs -- and a COMMAND"]],
    ["no --, with options", ["run", "--strict", "codex", "exec"], 2, ["error: run needs -- and a COMMAND"]],
    ["no COMMAND", ["run", "--"], 2, ["error: run needs a COMMAND behind --"]],
    ["an empty COMMAND", ["run", "--", ""], 2, ["error: run needs a COMMAND behind --"]],
    ["options behind --", ["run", "--", "--strict"], 127, ["error: no COMMAND '--strict'"]],
    ["an unknown COMMAND", ["run", "--", "no-such-command"], 127, ["error: no COMMAND 'no-such-command'"]],
    ["a path to nothing", ["run", "--", "/no/such"], 127, ["error: no COMMAND '/no/such'"]],
    [
      "a file that is not executable",
      ["run", "--", "/etc/passwd"],
      126,
      ["error: COMMAND '/etc/passwd' cannot be executed"],
    ],
    ["a directory", ["run", "--", "/etc"], 126, ["error: COMMAND '/etc' is no file"]],
    ["--background", ["run", "--background", "--", "true"], 2, ["error: unknown flag '--background'"]],
    [
      "a wrong value",
      ["run", "--port=x", "--", "true"],
      2,
      ["error: --port must be a whole number from 0 to 65535, got 'x'"],
    ],
    ["run behind options", ["--strict", "run", "--", "true"], 2, ["error: unexpected argument 'run'"]],
  ];
  test.each(COMMANDS)("%s", async (_what, args, exitCode, lines) => {
    const ended = await runProgram({ launcher: NO_TERMINAL, args, input: CANARY_KEY });
    expect(ended).toMatchObject({ exitCode, stdout: "" });
    expect(linesOf(ended.stderr).slice(0, lines.length)).toEqual(lines);
    expect(ended.stderr).not.toContain("internal error");
  });

  const PROXIES: [what: string, args: string[], input: string, exitCode: number, error: RegExp][] = [
    ["no key", [], "", 1, /^error: standard input has no key in it$/],
    ["half a key", [], "a b\n", 1, /^error: the key contains a character/],
    [
      "a user that is not there",
      ["--user=no-such-user"],
      CANARY_KEY,
      2,
      /^error: --user 'no-such-user' is no user/,
    ],
    [
      "a key file that is not there",
      ["--key-file=/no/such"],
      "",
      1,
      /^error: cannot read --key-file '\/no\/such': ENOENT$/,
    ],
    [
      "a port in use",
      [`--port=${upstream.port}`, "--upstream-url=https://a.test/responses"],
      CANARY_KEY,
      1,
      /^error: .*port/,
    ],
  ];
  test.each(PROXIES)("a proxy that cannot start: %s", async (_what, args, input, exitCode, error) => {
    const mark = join(temporaryDirectory(), "started");
    const urls = args.some((arg) => arg.startsWith("--upstream-url")) ? [] : [`--upstream-url=${url}`];
    const ended = await runProgram({
      launcher: NO_TERMINAL,
      args: ["run", ...urls, ...args, "--", "touch", mark],
      input,
    });
    expect(ended).toMatchObject({ exitCode, stdout: "" });
    expect(linesOf(ended.stderr)[0]).toMatch(error);
    expect(ended.stderr).not.toMatch(/ended after|internal error/);
    expect(existsSync(mark)).toBe(false);
    expect(processesOf(url)).toEqual([]);
  });

  // What ends first, the proxy or run itself, is a race.
  test("a proxy that cannot start, 40 times: nothing is said of COMMAND, of which there is none", async () => {
    const runs = Array.from({ length: 40 }, () =>
      runProgram({ launcher: NO_TERMINAL, args: ["run", `--upstream-url=${url}`, "--", "true"], input: "" }),
    );
    for (const { exitCode, stderr } of await Promise.all(runs)) {
      expect(exitCode).toBe(1);
      expect(linesOf(stderr)[0]).toBe("error: standard input has no key in it");
      expect(stderr).not.toContain("COMMAND, which");
    }
    await until(() => processesOf(url).length === 0, "every process to end");
  });

  test("a proxy that cannot start, and a caller that ignores SIGCHLD", async () => {
    const { exitCode, stderr } = await runProgram({
      launcher: ["perl", "-e", '$SIG{CHLD} = "IGNORE"; exec @ARGV'],
      args: ["run", "--", "true"],
      input: "a b\n",
    });
    expect(exitCode).toBe(1);
    expect(stderr).not.toContain("internal error");
  });

  test("too few descriptors: one line", async () => {
    for (const limit of [8, 9, 10, 12, 16, 24]) {
      const launcher = ["sh", "-c", `ulimit -n ${limit}; exec "$0" "$@"`];
      const { exitCode, stderr } = await runProgram({
        launcher,
        args: ["run", "--", "true"],
        input: CANARY_KEY,
      });
      expect({ limit, exitCode, first: linesOf(stderr)[0] }).toEqual({
        limit,
        exitCode: 1,
        first: expect.stringMatching(/^error: (cannot start another process|the limit on open files)/),
      });
    }
  });

  test("hardly any descriptors left: one line", async () => {
    for (const used of [17, 18, 19, 20, 21, 22, 23]) {
      const take = Array.from({ length: used }, (_, index) => `exec ${index + 9}</dev/null;`).join(" ");
      const { exitCode, stderr } = await runProgram({
        launcher: ["bash", "-c", `ulimit -n 32; ${take} exec "$0" "$@"`],
        args: ["run", "--", "true"],
        input: CANARY_KEY,
      });
      expect({ used, exitCode: exitCode === 0, first: linesOf(stderr)[0] }).toEqual({
        used,
        exitCode: false,
        first: "error: cannot start another process (EMFILE)",
      });
    }
  });

  test("watch by hand", async () => {
    expect(await runProgram({ args: ["watch"] })).toMatchObject({ exitCode: 2, stdout: "" });
    expect((await runProgram({ args: ["--help"] })).stdout).not.toContain("watch");
  });
});

test("20 runs in a row leave nothing behind", async () => {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, "bin"));
  writeFileSync(join(directory, "bin/codex"), "#!/bin/sh\nexit 4\n", { mode: 0o755 });
  const env = { TMPDIR: directory, PATH: `${directory}/bin:${BARE_ENVIRONMENT.PATH}` };
  for (let run = 0; run < 20; run++)
    expect((await runWith(url, ["codex"], { env, args: [`--server-info=${directory}/i`] })).exitCode).toBe(4);
  expect(readdirSync(directory)).toEqual(["bin"]);
}, 60_000);

test("--print-env starts nothing and needs no key", async () => {
  const { stdout, stderr, exitCode } = await runProgram({ args: ["run", "--print-env"] });
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  for (const name of ["OPENAI_BASE_URL", "cline auth", "models.json", "config.yaml", "--no-shim"])
    expect(stdout).toContain(name);
  expect(stdout.split("\n").filter((line) => line.length > 100 && !line.includes("codex -c"))).toEqual([]);
});

describe("codex", () => {
  const directory = temporaryDirectory();
  const bin = join(directory, "bin");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "codex"),
    '#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\necho "$RESPONSES_API_PROXY_TOKEN" | wc -c\n',
    { mode: 0o755 },
  );
  const place = temporaryDirectory();
  const key = join(place, "key");
  writeFileSync(key, CANARY_KEY, { mode: 0o600 });
  const PATH = `${bin}:${BARE_ENVIRONMENT.PATH}`;
  const run = (command: string[], { args = [] as string[], env = {} as Record<string, string> } = {}) =>
    runWith(url, command, { env: { PATH, TMPDIR: directory, ...env }, args });
  const provided = (...words: string[]) =>
    new RegExp(
      `^<-c>\n<model_providers\\.responses-api-proxy=\\{ name = '[^']+', base_url = 'http://127\\.0\\.0\\.1:\\d+/v1', wire_api = 'responses', env_key = 'RESPONSES_API_PROXY_TOKEN' \\}>\n<-c>\n<model_provider=responses-api-proxy>\n${words.map((word) => `<${word}>\n`).join("")}44\n$`,
    );

  const CALLS: [what: string, command: string[], words: string[]][] = [
    ["as COMMAND", ["codex", "exec", "a b", "'$x'"], ["exec", "a b", "'\\$x'"]],
    ["by a script", ["sh", "-c", "sh -c 'codex exec'"], ["exec"]],
    ["by its path as COMMAND", [join(bin, "codex"), "resume"], ["resume"]],
    ["by a script that puts another directory first", ["sh", "-c", "PATH=/usr/bin:$PATH; codex"], []],
    [
      "with a slash at the end of the shim's directory",
      ["sh", "-c", 'PATH="${PATH%%:*}/:${PATH#*:}"; codex'],
      [],
    ],
    ["in the shim's directory", ["sh", "-c", "cd ${PATH%%:*}; PATH=.:$PATH; codex"], []],
    [
      "by a symlink to the shim",
      ["sh", "-c", `ln -s \${PATH%%:*}/codex ${place}/codex; PATH=${place}:$PATH; codex; rm ${place}/codex`],
      [],
    ],
    [
      "with an empty entry at the end of PATH",
      ["sh", "-c", `cd ${bin}; PATH="\${PATH%%:*}:/usr/bin:/bin:"; codex a`],
      ["a"],
    ],
    [
      "in a run inside a run",
      [BINARY, "run", `--key-file=${key}`, `--upstream-url=${url}`, "--", "codex", "in"],
      ["in"],
    ],
    [
      "in a script, in a run inside a run",
      [BINARY, "run", `--key-file=${key}`, `--upstream-url=${url}`, "--", "sh", "-c", "codex in"],
      ["in"],
    ],
  ];
  test.each(CALLS)("%s: with the proxy as its provider", async (_what, command, words) => {
    const { stdout } = await run(command);
    expect(stdout).toMatch(provided(...words));
    expect(readdirSync(directory)).toEqual(["bin"]);
  });

  test("--no-shim: as it is", async () => {
    expect((await run(["codex", "exec"], { args: ["--no-shim"] })).stdout).toBe("<exec>\n44\n");
    expect((await run([join(bin, "codex"), "x"], { args: ["--no-shim"] })).stdout).toBe("<x>\n44\n");
  });

  test("none in PATH: none is pretended", async () => {
    const env = { PATH: BARE_ENVIRONMENT.PATH };
    expect((await run(["sh", "-c", "command -v codex; echo $?; echo $PATH"], { env })).stdout).toBe(
      `127\n${BARE_ENVIRONMENT.PATH}\n`,
    );
  });

  test.skipIf(lacks("mount namespaces"))(
    "without PATH: the shim is not all that COMMAND finds (needs mount namespaces)",
    async () => {
      const script = `mount --bind ${bin} /usr/local/bin && exec env -u PATH "$0" "$@"`;
      const launcher = ["unshare", "--mount", "sh", "-c", script];
      const { stdout } = await runWith(url, ["sh", "-c", "codex"], { launcher, env: { TMPDIR: directory } });
      expect(stdout).toMatch(provided());
    },
  );

  test("a TMPDIR where others can write: said, and COMMAND starts without", async () => {
    const open = temporaryDirectory();
    chmodSync(open, 0o777);
    const { stdout, stderr } = await run(["sh", "-c", "codex"], { env: { TMPDIR: open } });
    expect(stdout).toBe("44\n");
    expect(stderr).toContain(`others may replace what is in ${open}`);
    expect(readdirSync(open)).toEqual([]);
  });

  test("variables of any name stay as they are", async () => {
    const names = { directory: "d", codex: "c", line: "l" };
    writeFileSync(join(place, "codex"), `#!/bin/sh\nfor n in directory codex line; do printenv $n; done\n`, {
      mode: 0o755,
    });
    const { stdout } = await run(["sh", "-c", "codex"], { env: { ...names, PATH: `${place}:${PATH}` } });
    expect(stdout).toBe("d\nc\nl\n");
    rmSync(join(place, "codex"));
  });

  test("a TMPDIR with a colon: said, and COMMAND starts without", async () => {
    const odd = join(place, "a:b");
    mkdirSync(odd);
    const { stdout, stderr } = await run(["sh", "-c", "echo $PATH"], { env: { TMPDIR: odd } });
    expect(stdout).toBe(`${PATH}\n`);
    expect(stderr).toContain("a colon divides PATH");
  });

  test.skipIf(lacks("mount namespaces"))(
    "a TMPDIR with noexec: said; codex as COMMAND needs no shim (needs mount namespaces)",
    async () => {
      const mounted = join(place, "noexec");
      mkdirSync(mounted);
      const launcher = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        `mount -t tmpfs -o noexec,mode=1777 none ${mounted} && exec "$0" "$@"`,
      ];
      const { stdout, stderr } = await runWith(url, ["codex"], { launcher, env: { PATH, TMPDIR: mounted } });
      expect(stdout).toMatch(provided());
      expect(stderr).toContain("cannot be made (EACCES)");
    },
  );

  test("a TMPDIR that would be no argument: the shim is elsewhere, and is removed", async () => {
    const odd = join(place, "\uFFFD");
    mkdirSync(odd);
    const { stdout, stderr } = await run(["sh", "-c", 'codex; echo "${PATH%%:*}"'], { env: { TMPDIR: odd } });
    const [shim] = stdout.split("\n").slice(-2);
    expect(stdout).toMatch(/^<-c>\n/);
    expect(shim).toStartWith("/tmp/responses-api-proxy-");
    expect([existsSync(shim!), readdirSync(odd), stderr.includes("error")]).toEqual([false, [], false]);
  });

  test("a name with quotes, blanks and umlauts", async () => {
    const odd = join(directory, "ä 'b' $c");
    mkdirSync(odd);
    expect((await run(["sh", "-c", "codex"], { env: { TMPDIR: odd } })).stdout).toMatch(provided());
    expect(readdirSync(odd)).toEqual([]);
    rmSync(odd, { recursive: true });
  });
});

test.skipIf(lacks("root"))("what each process of a run has of the key in memory (needs root)", async () => {
  const command = ["sh", "-c", "echo up; exec sleep 60"];
  const child = Bun.spawn([BINARY, "run", `--upstream-url=${url}`, "--", ...command], {
    stdin: Buffer.from(`${CANARY_KEY}\n`),
    stdout: "pipe",
    stderr: "ignore",
    env: { ...BARE_ENVIRONMENT, OPENAI_API_KEY: CANARY_KEY, OTHER: `${CANARY_KEY}x` },
  });
  const childNamed = (name: string): Promise<string | undefined> =>
    until(
      () => readdirSync("/proc").find((pid) => isChildNamed(pid, child.pid, name)),
      `${name}, a child of COMMAND`,
    );
  try {
    await new Output(child.stdout).waitFor(/up\n/, child.exited, () => "");
    const [proxy, watcher] = [await childNamed("responses-proxy"), await childNamed("responses-watch")];
    expect(scanMemory(Number(proxy), CANARY_KEY)).toEqual({ copies: 1, unlocked: 0 });
    expect(scanMemory(Number(watcher), CANARY_KEY).copies).toBe(0);
    expect(scanMemory(child.pid, CANARY_KEY).copies).toBe(0);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

function isChildNamed(pid: string, parent: number, name: string): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return status.startsWith(`Name:\t${name}\n`) && status.includes(`\nPPid:\t${parent}\n`);
  } catch {
    return false;
  }
}
