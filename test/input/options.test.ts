// The command line: what is accepted; everything else gets one clear line, a hint if there is one, and exit code 2.

import { describe, expect, test } from "bun:test";

import { version } from "../../package.json";
import { type Options, parseOptions, toArguments } from "../../src/input/options.ts";
import { runProgram } from "../harness/program.ts";

const DEFAULTS = {
  port: 0,
  socket: undefined,
  socketMode: 0o600,
  socketGroup: undefined,
  allowUsers: [],
  clientToken: undefined,
  clientTokenGroup: undefined,
  maxRequests: undefined,
  maxConcurrent: undefined,
  rate: undefined,
  lifetimeMs: undefined,
  serverInfo: undefined,
  keyFile: undefined,
  githubOidc: undefined,
  httpShutdown: false,
  upstreamUrl: new URL("https://api.openai.com/v1/responses"),
  insecureUpstream: false,
  user: undefined,
  strict: false,
  shutdownTimeoutMs: 10_000,
  logLevel: "info" as const,
  logJson: false,
  logFile: undefined,
  dumpDir: undefined,
  background: false,
  exitWithParent: false,
};

const AZURE = "https://x.openai.azure.com/openai/deployments/d/responses?api-version=2025-04-01-preview";

const ACCEPTED: [args: string[], options: Partial<Options>][] = [
  [[], {}],
  [["--port", "8080"], { port: 8080 }],
  [["--port=8080"], { port: 8080 }],
  [["--port=0"], { port: 0 }],
  [["--port=65535"], { port: 65_535 }],
  [["--server-info", "/tmp/a"], { serverInfo: "/tmp/a" }],
  [["--key-file=/tmp/k"], { keyFile: "/tmp/k" }],
  [["--key-file", "/dev/shm/../k"], { keyFile: "/dev/k" }],
  [["--server-info=a/../b"], { serverInfo: `${process.cwd()}/b` }],
  [["--http-shutdown"], { httpShutdown: true }],
  [["--upstream-url", AZURE], { upstreamUrl: new URL(AZURE) }],
  [["--upstream-url=http://127.0.0.1:1/x"], { upstreamUrl: new URL("http://127.0.0.1:1/x") }],
  [["--upstream-url=http://localhost/x"], { upstreamUrl: new URL("http://localhost/x") }],
  [["--upstream-url=http://[::1]/x"], { upstreamUrl: new URL("http://[::1]/x") }],
  [
    ["--upstream-url=http://a.test/", "--insecure-upstream"],
    { upstreamUrl: new URL("http://a.test/"), insecureUpstream: true },
  ],
  [["--user", "nobody"], { user: "nobody" }],
  [["--user=61234"], { user: "61234" }],
  [["--strict"], { strict: true }],
  [["--shutdown-timeout=0"], { shutdownTimeoutMs: 0 }],
  [
    ["--port=8080", "--upstream-url=http://127.0.0.2:8080/"],
    { port: 8080, upstreamUrl: new URL("http://127.0.0.2:8080/") },
  ],
  [["--log-level=silent"], { logLevel: "silent" }],
  [["--log-level", "debug", "--log-json"], { logLevel: "debug", logJson: true }],
  [["--dump-dir=/tmp/d"], { dumpDir: "/tmp/d" }],
  [["--log-file=l"], { logFile: `${process.cwd()}/l` }],
  [["--background"], { background: true }],
  [["--exit-with-parent"], { exitWithParent: true }],
  [["--shutdown-timeout", "3600"], { shutdownTimeoutMs: 3_600_000 }],
  // With a socket there is a port only if it is asked for.
  [["--socket=/run/p/s"], { socket: "/run/p/s", port: undefined }],
  [["--socket=a/../s"], { socket: `${process.cwd()}/s`, port: undefined }],
  [["--socket=/run/p/s", "--port=0"], { socket: "/run/p/s", port: 0 }],
  [[`--socket=/run/${"s".repeat(102)}`], { socket: `/run/${"s".repeat(102)}`, port: undefined }],
  [
    ["--socket=/run/p/s", "--socket-mode=660", "--socket-group=www"],
    { socket: "/run/p/s", port: undefined, socketMode: 0o660, socketGroup: "www" },
  ],
  [["--socket=/run/p/s", "--socket-mode=0007"], { socket: "/run/p/s", port: undefined, socketMode: 0o007 }],
  [["--allow-user=alice"], { allowUsers: ["alice"] }],
  [["--allow-user", "61234", "--allow-user=bob"], { allowUsers: ["61234", "bob"] }],
  [
    ["--allow-user=alice", "--socket=/run/p/s", "--port=1"],
    { allowUsers: ["alice"], socket: "/run/p/s", port: 1 },
  ],
  [["--client-token", "/run/p/t"], { clientToken: "/run/p/t" }],
  [["--client-token=t"], { clientToken: `${process.cwd()}/t` }],
  [
    ["--client-token=/run/p/t", "--client-token-group=www"],
    { clientToken: "/run/p/t", clientTokenGroup: "www" },
  ],
  [
    ["--client-token=/run/p/t", "--socket=/run/p/s", "--server-info=/run/p/i"],
    { clientToken: "/run/p/t", socket: "/run/p/s", serverInfo: "/run/p/i", port: undefined },
  ],
  [["--max-requests=1"], { maxRequests: 1 }],
  [["--max-requests", "1000000000"], { maxRequests: 1_000_000_000 }],
  [["--max-concurrent=1"], { maxConcurrent: 1 }],
  [["--rate=1/s"], { rate: { count: 1, perMs: 1000 } }],
  [["--rate", "60/m"], { rate: { count: 60, perMs: 60_000 } }],
  [["--rate=999999999/h"], { rate: { count: 999_999_999, perMs: 3_600_000 } }],
  [["--lifetime=1ms"], { lifetimeMs: 1 }],
  [["--lifetime=90"], { lifetimeMs: 90_000 }],
  [["--lifetime", "8760h"], { lifetimeMs: 8760 * 3_600_000 }],
];

describe("accepted", () => {
  test.each(ACCEPTED)("%j", (args, options) => {
    const parsed = parseOptions(args) as Options;
    expect(parsed).toEqual({ ...DEFAULTS, ...options });
    expect(Object.isFrozen(parsed)).toBe(true);
    // The arguments of the second start mean the same; by then the key file is standard input.
    expect(parseOptions(toArguments(parsed))).toEqual({ ...parsed, keyFile: undefined });
  });
});

const HELP_HINT = "responses-api-proxy: hint: responses-api-proxy --help shows all flags\n";

const DURATION_HINT =
  "responses-api-proxy: hint: give it as 500ms, 10s, 2m or 1h; a plain number is seconds\n";

const RATE_HINT = "responses-api-proxy: hint: give it as 5/s, 60/m or 1000/h\n";
const COUNTS = ["0", "-1", "1.5", "1e3", "0x10", " 1", "ten", "1000000001", "9999999999999999"];
const RATES = [
  "5/d",
  "5",
  "5/",
  "/s",
  "0/s",
  "05/s",
  "-1/s",
  "1.5/s",
  "5/S",
  "5 /s",
  "5/s/s",
  "5/10s",
  "1000000000/s",
];
const MODES = ["9", "66", "0668", "1660", "00660", "u=rw", "-1"];

const REFUSED: [args: string[], error: string, hint?: string][] = [
  ...["max-requests", "max-concurrent"].flatMap((flag) =>
    COUNTS.map((count): [string[], string] => [
      [`--${flag}=${count}`],
      `--${flag} must be a whole number from 1 to 1000000000, got '${count}'`,
    ]),
  ),
  ...RATES.map((rate): [string[], string, string] => [
    [`--rate=${rate}`],
    `--rate must be a number of requests per second, minute or hour, got '${rate}'`,
    RATE_HINT,
  ]),
  ...["-1", "1.5", "8761h", "1d", "soon", "1 h"].map((duration): [string[], string, string] => [
    [`--lifetime=${duration}`],
    `--lifetime must be a duration of at most 8760h, got '${duration}'`,
    DURATION_HINT,
  ]),
  ...MODES.map((mode): [string[], string] => [
    ["--socket=/run/p/s", `--socket-mode=${mode}`],
    `--socket-mode must be an octal mode such as 0660, got '${mode}'`,
  ]),
  [["--max-requests=1", "--max-requests=2"], "--max-requests is given more than once"],
  [["--client-token=/run/p/t", "--client-token=/run/p/t"], "--client-token is given more than once"],
  [["--allow-user"], "--allow-user needs a value"],
  [["--allow-user=a", "--allow-user="], "--allow-user needs a value"],
  [["--socket-mode=0660"], "--socket-mode requires --socket"],
  [["--socket-group=www", "--port=1"], "--socket-group requires --socket"],
  [["--client-token-group=www"], "--client-token-group requires --client-token"],
  [
    ["--allow-user=alice", "--socket=/run/p/s"],
    "--allow-user is for TCP: who may connect to --socket is decided by its mode and group",
    "responses-api-proxy: hint: give --port, too, or leave --allow-user out\n",
  ],
  ...(
    [
      ["socket", "client-token"],
      ["socket", "server-info"],
      ["client-token", "server-info"],
    ] as const
  ).map(([one, other]): [string[], string] => [
    // The same file, written in two ways.
    [`--${one}=/run/p/f`, `--${other}=/run/p/../p//f`],
    "--socket, --client-token, --server-info, --key-file, --log-file and --dump-dir must be different",
  ]),
  [["--client-token=/token"], "--client-token must not be in / or /dev, got '/token'"],
  [["--socket=/dev/s"], "--socket must not be in / or /dev, got '/dev/s'"],
  [["--client-token=/run/p/"], "--client-token must name a file, got '/run/p/'"],
  [["--client-token=-"], "--client-token must name a file, got '-'"],
  [
    ["--client-token=sk-proj-abcdef"],
    "--client-token must name a file, and that looks like a key",
    "responses-api-proxy: hint: treat that key as known to others on this host: every user can read arguments\n",
  ],
  [
    [`--socket=/run/${"s".repeat(103)}`],
    "--socket must have at most 107 bytes as an absolute path, got 108",
    "responses-api-proxy: hint: clients could not connect to a longer one (unix(7))\n",
  ],
  [["--prot", "1"], "unknown flag '--prot'", "responses-api-proxy: hint: did you mean --port?\n"],
  [
    ["--http-shutdwon"],
    "unknown flag '--http-shutdwon'",
    "responses-api-proxy: hint: did you mean --http-shutdown?\n",
  ],
  [
    ["--key-file=sk-proj-abcdef"],
    "--key-file must name a file, and that looks like a key",
    "responses-api-proxy: hint: treat that key as known to others on this host: every user can read arguments\n",
  ],
  [["--no-port"], "unknown flag '--no-port'", ""],
  [["-p", "1"], "unknown flag '-p'", ""],
  [["--frobnicate"], "unknown flag '--frobnicate'", ""],
  [["--__proto__"], "unknown flag '--__proto__'", ""],
  [["--port"], "--port needs a value"],
  [["--port="], "--port needs a value"],
  [["--port", "--http-shutdown"], "--port needs a value"],
  [["--port", "-1"], "--port needs a value"],
  [["--port=-1"], "--port must be a whole number from 0 to 65535, got '-1'"],
  [["--port=65536"], "--port must be a whole number from 0 to 65535, got '65536'"],
  [["--port=8o80"], "--port must be a whole number from 0 to 65535, got '8o80'"],
  [["--port=1.5"], "--port must be a whole number from 0 to 65535, got '1.5'"],
  [["--port=0x10"], "--port must be a whole number from 0 to 65535, got '0x10'"],
  [["--port= 1"], "--port must be a whole number from 0 to 65535, got ' 1'"],
  [["--port=1", "--port=1"], "--port is given more than once"],
  [["--http-shutdown", "--http-shutdown"], "--http-shutdown is given more than once"],
  [["--http-shutdown=yes"], "--http-shutdown takes no value, got 'yes'"],
  [["begin"], "unexpected argument 'begin'"],
  [["--"], "unexpected argument '--'"],
  [["--server-info", ""], "--server-info needs a value"],
  [["--server-info=/tmp/"], "--server-info must name a file, got '/tmp/'"],
  [
    ["--shutdown-timeout=3601"],
    "--shutdown-timeout must be a duration of at most 1h, got '3601'",
    DURATION_HINT,
  ],
  [
    ["--shutdown-timeout=ten"],
    "--shutdown-timeout must be a duration of at most 1h, got 'ten'",
    DURATION_HINT,
  ],
  [
    ["--upstream-url=api.openai.com/v1/responses"],
    "--upstream-url must be an absolute https URL, got 'api.openai.com/v1/responses'",
    "responses-api-proxy: hint: try --upstream-url=https://api.openai.com/v1/responses\nresponses-api-proxy: hint: the default is https://api.openai.com/v1/responses\n",
  ],
  [
    ["--upstream-url=ftp://a/"],
    "--upstream-url must be an absolute https URL, got 'ftp://a/'",
    "responses-api-proxy: hint: the default is https://api.openai.com/v1/responses\n",
  ],
  [
    ["--upstream-url=https:a.test"],
    "--upstream-url must be an absolute https URL, got 'https:a.test'",
    "responses-api-proxy: hint: the default is https://api.openai.com/v1/responses\n",
  ],
  [
    ["--upstream-url=https://a.test/ b"],
    "--upstream-url must be an absolute https URL, got 'https://a.test/ b'",
    "responses-api-proxy: hint: the default is https://api.openai.com/v1/responses\n",
  ],
  [["--upstream-url=https://a.test:0/"], "--upstream-url must not have port 0, got 'https://a.test:0/'"],
  [["--server-info=/info.json"], "--server-info must not be in / or /dev, got '/info.json'"],
  [["--server-info=/dev/null"], "--server-info must not be in / or /dev, got '/dev/null'"],
  [["OPENAI_API_KEY=sk-proj-0123456789"], "unexpected argument 'OPENAI_API_KEY=sk-…'"],
  [["--port", "sk-proj-0123456789"], "--port must be a whole number from 0 to 65535, got 'sk-…'"],
  [["--sk-proj-0123456789"], "unknown flag '--sk-…'", ""],
  [
    ["--upstream-url=user:secret@a.test/"],
    "--upstream-url must be an absolute https URL, got '…@a.test/'",
    "responses-api-proxy: hint: the default is https://api.openai.com/v1/responses\n",
  ],
  [
    ["--upstream-url=https://user:secret@a.test/"],
    "--upstream-url must not contain user info",
    "responses-api-proxy: hint: the key is read from standard input\n",
  ],
  [
    ["--upstream-url=https://a.test/#b"],
    "--upstream-url must not contain a fragment, got 'https://a.test/#b'",
  ],
  [["--upstream-url=https://a.test/#"], "--upstream-url must not contain a fragment, got 'https://a.test/#'"],
  [
    ["--upstream-url=http://127.0.0.1.a.test/"],
    "--upstream-url must be https, got 'http://127.0.0.1.a.test/'",
    "responses-api-proxy: hint: plain http to a host that is not loopback shows the key to the network; --insecure-upstream allows it\n",
  ],
  [
    ["--upstream-url=http://api.openai.com/v1/responses"],
    "--upstream-url must be https, got 'http://api.openai.com/v1/responses'",
    "responses-api-proxy: hint: plain http to a host that is not loopback shows the key to the network; --insecure-upstream allows it\n",
  ],
  [
    ["--port=8080", "--upstream-url=http://127.0.0.1:8080/"],
    "--upstream-url leads back to --port: every request would go in circles",
  ],
  [
    ["--port=80", "--upstream-url=http://localhost/v1/responses"],
    "--upstream-url leads back to --port: every request would go in circles",
  ],
  [["a\n\x1b[31mb"], "unexpected argument 'a\\u000a\\u001b[31mb'"],
  [
    ["sk-proj-0123456789"],
    "the key must not be an argument: every user can read those",
    "responses-api-proxy: hint: pipe the key in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy\nresponses-api-proxy: hint: treat that key as known to others on this host\n",
  ],
];

describe("refused with exit code 2", () => {
  test.each(REFUSED)("%j", async (args, error, hint = "") => {
    const ended = await runProgram({ args, input: "sk-unused\n" });
    expect(ended).toEqual({
      exitCode: 2,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: ${error}\n${hint}${HELP_HINT}`,
    });
  });
});

test("--version names Bun's version too", async () => {
  const stdout = `responses-api-proxy ${version} (Bun 1.4.5, built for linux ${process.arch})\n`;
  expect(await runProgram({ args: ["--version"] })).toEqual({
    exitCode: 0,
    signal: null,
    stdout,
    stderr: "",
  });
});

test("--help goes to standard output, plain, even if colours are asked for", async () => {
  const { exitCode, stdout, stderr } = await runProgram({ args: ["--help"], env: { FORCE_COLOR: "1" } });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toContain("--upstream-url=<URL>");
  expect(stdout).not.toContain("\x1b");
});

test("standard output that cannot be written: one line, exit code 1", async () => {
  const launcher = ["sh", "-c", 'exec "$0" "$@" >/dev/full'];
  const stderr = "responses-api-proxy: error: standard output cannot be written (ENOSPC)\n";
  expect(await runProgram({ args: ["--help"], launcher })).toEqual({
    exitCode: 1,
    signal: null,
    stdout: "",
    stderr,
  });
});
