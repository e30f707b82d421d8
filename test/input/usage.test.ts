// Flags and words that users of other programs type: some are accepted, the others get a hint that helps.

import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";

import { version } from "../../package.json";
import { type Options, parseOptions, toArguments } from "../../src/input/options.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";

const said = async (...args: string[]) => {
  const { exitCode, stdout, stderr } = await runProgram({ args, input: "sk-unused\n" });
  return { exitCode, stdout, stderr };
};

describe("help and version by other names", () => {
  const SAME: [args: string[], as: string[]][] = [
    [["-h"], ["--help"]],
    [["help"], ["--help"]],
    [["--strict", "-h"], ["--help"]],
    [["-V"], ["--version"]],
    [["version"], ["--version"]],
    [
      ["help", "wait"],
      ["wait", "--help"],
    ],
    [
      ["status", "-h"],
      ["status", "--help"],
    ],
  ];
  test.each(SAME)("%j is %j", async (args, as) => {
    const expected = await said(...as);
    expect(expected).toMatchObject({ exitCode: 0, stderr: "" });
    expect(expected.stdout).toMatch(/USAGE|^responses-api-proxy \d/);
    expect(await said(...args)).toEqual(expected);
  });

  test("--version is the package's", async () => {
    expect((await said("version")).stdout).toStartWith(`responses-api-proxy ${version} `);
  });
});

test("--help fits 80 columns, the subcommands' too", async () => {
  for (const args of [["--help"], ["doctor", "--help"], ["status", "--help"], ["wait", "--help"]]) {
    const { stdout } = await said(...args);
    expect(stdout.split("\n").filter((line) => [...line].length > 80)).toEqual([]);
    expect(stdout).toContain("OPTIONS");
  }
});

const EXPOSED = [
  "error: the key must not be an argument: every user can read those",
  "hint: pipe the key in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy",
  "hint: treat that key as known to others on this host",
];
const ADDRESS = "hint: it listens on 127.0.0.1 only; --port chooses the port";
const END =
  "hint: end it with kill and the pid in the server-info file, or with GET /shutdown if --http-shutdown is given";

const TYPED: [args: string[], lines: string[]][] = [
  [["--key", "sk-proj-abcdefgh"], EXPOSED],
  [["--key=abcdefgh"], EXPOSED],
  [["--api-key=sk-proj-abcdefgh"], EXPOSED],
  [["--openai_api_key", "abcdefgh"], EXPOSED],
  [["-key=abcdefgh"], EXPOSED],
  [["--token", "abcdefgh"], EXPOSED],
  [["--key"], ["error: unknown flag '--key'", EXPOSED[1]!]],
  [
    ["--key", "--strict"],
    ["error: unknown flag '--key'", EXPOSED[1]!],
  ],
  [["--host=0.0.0.0"], ["error: unknown flag '--host'", ADDRESS]],
  [
    ["--bind", "0.0.0.0"],
    ["error: unknown flag '--bind'", ADDRESS],
  ],
  [["--listen"], ["error: unknown flag '--listen'", ADDRESS]],
  [["-v"], ["error: unknown flag '-v'", "hint: --log-level=debug says more; -V shows the version"]],
  [["--quiet"], ["error: unknown flag '--quiet'", "hint: --log-level=error says less"]],
  [["--config", "x"], ["error: unknown flag '--config'"]],
  [["stop"], ["error: unexpected argument 'stop'", END]],
  [["shutdown"], ["error: unexpected argument 'shutdown'", END]],
  [
    ["start"],
    ["error: unexpected argument 'start'", "hint: leave it out: without a subcommand the proxy starts"],
  ],
  [["help", "no"], ["error: unexpected argument 'no'"]],
  [["version", "2"], ["error: unexpected argument '2'"]],
  [
    ["wait", "f", "--mx=1"],
    ["error: unknown flag '--mx'", "hint: did you mean --max?"],
  ],
  [["help", "wait", "--no"], ["error: unknown flag '--no'"]],
];

describe("everything else: a hint with the right name if it is known, and always one that leads to --help", () => {
  test.each(TYPED)("%j", async (args, lines) => {
    const command = args.includes("wait") ? " wait" : "";
    const all = [...lines, `hint: responses-api-proxy${command} --help shows all flags`];
    const stderr = all.map((line) => `responses-api-proxy: ${line}\n`).join("");
    expect(await said(...args)).toEqual({ exitCode: 2, stdout: "", stderr });
  });
});

describe("durations", () => {
  const ACCEPTED: [text: string, milliseconds: number][] = [
    ["0", 0],
    ["10", 10_000],
    ["500ms", 500],
    ["10s", 10_000],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["1ms", 1],
  ];
  test.each(ACCEPTED)("--shutdown-timeout=%s, and the second start's is the same", (text, milliseconds) => {
    const options = parseOptions([`--shutdown-timeout=${text}`]) as Options;
    expect(options.shutdownTimeoutMs).toBe(milliseconds);
    expect(parseOptions(toArguments(options))).toEqual(options);
  });

  test("wait --max takes the same", async () => {
    for (const [text, seconds] of [
      ["0", "0"],
      ["10ms", "0.01"],
      ["0s", "0"],
      ["0h", "0"],
    ]) {
      const { exitCode, stderr } = await said("wait", "/nonexistent/info.json", `--max=${text}`);
      expect({ exitCode, stderr }).toEqual({
        exitCode: 1,
        stderr: `responses-api-proxy: error: no proxy by '/nonexistent/info.json' in ${seconds} s: there is no such file\n`,
      });
    }
  });

  test.each(["61m", "3600001ms", "1.5s", "-1", "1d", "s", "1 s", "10S"])("not %s", async (text) => {
    const { exitCode, stderr } = await said(`--shutdown-timeout=${text}`);
    expect(exitCode).toBe(2);
    expect(stderr.split("\n").slice(0, 2)).toEqual([
      `responses-api-proxy: error: --shutdown-timeout must be a duration of at most 1h, got '${text}'`,
      "responses-api-proxy: hint: give it as 500ms, 10s, 2m or 1h; a plain number is seconds",
    ]);
  });
});

describe("paths that only a shell expands", () => {
  const STANDARD_INPUT = "hint: leave --key-file out to read standard input";
  const TILDE = "hint: the shell expands ~ only at the start of a word: --key-file ~/…, without = and quotes";
  const SHELL: [args: string[], lines: string[]][] = [
    ...["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0", "/dev/../dev/stdin"].map(
      (path): [string[], string[]] => [
        ["--key-file", path],
        [`error: --key-file must name a file, got '${path}'`, STANDARD_INPUT],
      ],
    ),
    [
      ["--key-file=~/key"],
      ["error: --key-file begins with a ~ that the shell has not expanded, got '~/key'", TILDE],
    ],
    [
      ["--key-file=~ann/key"],
      ["error: --key-file begins with a ~ that the shell has not expanded, got '~ann/key'", TILDE],
    ],
    [
      ["--dump-dir=~"],
      [
        "error: --dump-dir begins with a ~ that the shell has not expanded, got '~'",
        TILDE.replace("key-file", "dump-dir"),
      ],
    ],
    [["--server-info=-"], ["error: --server-info must name a file, got '-'"]],
  ];
  test.each(SHELL)("%j", async (args, lines) => {
    const all = [...lines, "hint: responses-api-proxy --help shows all flags"];
    const stderr = all.map((line) => `responses-api-proxy: ${line}\n`).join("");
    expect(await said(...args)).toEqual({ exitCode: 2, stdout: "", stderr });
  });

  test("an argument that is no UTF-8: not read as another one", async () => {
    const directory = temporaryDirectory();
    const { exitCode, stdout, stderr } = await runProgram({
      launcher: ["sh", "-c", `exec "$0" --log-file "$(printf '${directory}/\\377')"`],
      input: "sk-unused\n",
    });
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 2,
      stdout: "",
      stderr:
        "responses-api-proxy: error: an argument is no UTF-8: it would be read as another one\n" +
        "responses-api-proxy: hint: responses-api-proxy --help shows all flags\n",
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  test.each([
    ["is gone", "mkdir gone; cd gone; rmdir ../gone"],
    ["has a name that is no UTF-8", `name="$(printf '\\377')"; mkdir "$name"; cd "$name"`],
  ])("a path from a working directory that %s", async (why, script) => {
    const { exitCode, stderr } = await runProgram({
      launcher: ["sh", "-c", `${script}; exec "$0" "$@"`],
      args: ["--server-info=s/i"],
      cwd: temporaryDirectory(),
      input: "sk-unused\n",
    });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr:
        `responses-api-proxy: error: the working directory ${why}\n` +
        "responses-api-proxy: hint: start it in another one, or give absolute paths\n",
    });
  });

  test("a file whose name begins with ~ is accepted", () => {
    expect(parseOptions(["--key-file=./~/key"])).toMatchObject({ keyFile: `${process.cwd()}/~/key` });
    expect(parseOptions(["--key-file=~key"])).toMatchObject({ keyFile: `${process.cwd()}/~key` });
  });
});
