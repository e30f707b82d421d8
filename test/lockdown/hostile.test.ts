// Nothing of a hostile working directory or environment reaches the process that holds the key.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { lacks } from "../harness/needs.ts";
import { Pipe } from "../harness/pipe.ts";
import {
  BARE_ENVIRONMENT,
  CANARY_KEY,
  Proxy,
  runProgram,
  SETTINGS,
  temporaryDirectory,
} from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

/** Returns the environment that the process was executed with, as root sees it. */
function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, "utf8")
    .split("\0")
    .filter((entry) => entry !== "");
}

const SECOND_START = { ...SETTINGS, RESPONSES_API_PROXY_STAGE: "reexec" };
const CLEAN = Object.entries({ ...BARE_ENVIRONMENT, ...SECOND_START })
  .map(([name, value]) => `${name}=${value}`)
  .sort();

describe("a hostile working directory", () => {
  const EVIL = 'require("node:fs").writeFileSync(`${__dirname}/EVIL`, ""); console.error("EVIL");';
  const FILES: [name: string, text: string][] = [
    ["bunfig.toml", 'preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n'],
    ["tsconfig.json", '{"compilerOptions":{"paths":{"*":["./evil.ts"]}}}'],
    ["package.json", '{"name":"x","type":"commonjs","imports":{"#*":"./evil.ts"},"main":"./evil.ts"}'],
    [
      ".env",
      "HTTPS_PROXY=http://127.0.0.1:9\nNODE_TLS_REJECT_UNAUTHORIZED=0\nBUN_INSPECT=127.0.0.1:6498/x\nOPENAI_API_KEY=sk-evil\n",
    ],
    [".env.local", "HTTPS_PROXY=http://127.0.0.1:9\n"],
    ["evil.ts", EVIL],
  ];

  async function startIn(below: string): Promise<{ proxy: Proxy; directory: string }> {
    const directory = temporaryDirectory();
    const cwd = join(directory, below);
    mkdirSync(cwd, { recursive: true });
    for (const [name, text] of FILES) writeFileSync(join(directory, name), text);
    const upstream = new RawUpstream();
    const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`], cwd });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    return { proxy, directory };
  }

  test.each([".", "below/it"])("started in %s: none of its code runs", async (below) => {
    const { proxy, directory } = await startIn(below);
    const { stderr } = await proxy.stop();
    expect(stderr).not.toContain("EVIL");
    expect(existsSync(join(directory, "EVIL"))).toBe(false);
  });

  test.skipIf(lacks("root")).each([".", "below/it"])(
    "started in %s: its .env is not read (needs root)",
    async (below) => {
      const { proxy } = await startIn(below);
      expect(environmentOf(proxy.pid).sort()).toEqual(CLEAN);
    },
  );
});

describe("a hostile environment", () => {
  /** A server that keeps every byte it receives. */
  const logger = (): RawUpstream => new RawUpstream();

  const kept = {
    LANG: "C.UTF-8",
    LC_ALL: "C",
    TZ: "UTC",
    TERM: "dumb",
    NO_COLOR: "1",
    no_proxy: "a.test",
    NO_PROXY: "b.test",
  };
  const start = (): Promise<Proxy> =>
    Proxy.start({
      args: [`--upstream-url=${new RawUpstream().url}`],
      cwd: "/tmp",
      env: {
        ...kept,
        SSL_CERT_FILE: "certs.pem",
        OPENAI_API_KEY: CANARY_KEY,
        AWS_SECRET_ACCESS_KEY: "x",
        NODE_OPTIONS: "--inspect",
        NODE_ENV: "development",
        PORT: "1",
        BUN_PORT: "1",
        MALLOC_CHECK_: "3",
        LC_: "",
      },
    });

  test.skipIf(lacks("root"))(
    "OPENAI_API_KEY and all the rest stay behind; what is allowed stays, files made absolute (needs root)",
    async () => {
      const all = [
        ...CLEAN,
        ...Object.entries(kept).map(([name, value]) => `${name}=${value}`),
        "SSL_CERT_FILE=/tmp/certs.pem",
      ];
      expect(environmentOf((await start()).pid).sort()).toEqual(all.sort());
    },
  );

  test("a line at the start says what is in force from it", async () => {
    const [line] = await (await start()).waitForLine(/in force.*\n/);
    expect(line).toBe(
      "in force from the environment: NO_PROXY=b.test no_proxy=a.test SSL_CERT_FILE=/tmp/certs.pem\n",
    );
  });

  // Three defences keep it from printing: the variable stays behind, fetch has `verbose: false`, and the runtime's standard
  // error is /dev/null. This test fails only without all three; the test above shows that the variable stays behind.
  test("BUN_CONFIG_VERBOSE_FETCH=curl prints nothing", async () => {
    const upstream = new RawUpstream();
    const env = { BUN_CONFIG_VERBOSE_FETCH: "curl" };
    const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`], env });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    const { stdout, stderr } = await proxy.stop();
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(/Bearer|curl|authorization/i);
    // The neighbour: the same request from the same runtime, without any of the three.
    const code = `await fetch("${upstream.url}", { method: "POST", headers: { authorization: "Bearer ${CANARY_KEY}" } })`;
    const plain = await runProgram({ binary: process.execPath, args: ["-e", code], env });
    expect(plain.stdout + plain.stderr).toContain(CANARY_KEY);
  });

  const PROXIES = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"];
  test.each(PROXIES)("%s gets nothing of a request to loopback, plain or TLS", async (name) => {
    const authority = await makeAuthority();
    const proxied = logger();
    const env = { [name]: `http://127.0.0.1:${proxied.port}`, ...trust(authority, temporaryDirectory()) };
    for (const upstream of [new RawUpstream(), new RawUpstream({ tls: authority.server })]) {
      const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`], env });
      expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    }
    expect(proxied.connections).toBe(0);
  });

  test.each(["HTTP_PROXY", "ALL_PROXY"])(
    "%s gets nothing of a request to another host either",
    async (name) => {
      const proxied = logger();
      const env = { [name]: `http://127.0.0.1:${proxied.port}` };
      const proxy = await Proxy.start({ args: ["--upstream-url=https://nowhere.invalid/"], env });
      expect((await roundTrip(proxy.port, REQUEST)).status).toBe(502);
      expect(proxied.connections).toBe(0);
    },
  );

  test("HTTPS_PROXY, which is allowed, is shown at the start without its password, and sees only CONNECT", async () => {
    const proxied = new RawUpstream({ answer: "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n" });
    const env = { HTTPS_PROXY: `http://user:secret@127.0.0.1:${proxied.port}` };
    const proxy = await Proxy.start({ args: ["--upstream-url=https://nowhere.invalid/"], env });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(502);
    expect(proxied.requests.map(({ first }) => first)).toEqual(["CONNECT nowhere.invalid:443 HTTP/1.1"]);
    expect(JSON.stringify(proxied.requests)).not.toContain(CANARY_KEY);
    await proxy.waitForLine(/in force.*\n/);
    expect(proxy.stderr).toContain(`HTTPS_PROXY=http://…@127.0.0.1:${proxied.port}`);
    expect(proxy.stderr).not.toContain("secret");
  });

  test("an HTTPS_PROXY that is no URL is refused, and the message does not repeat it", async () => {
    for (const value of [
      "user:secret@proxy.test:3128",
      "127.0.0.1:3128",
      "socks5://127.0.0.1:1",
      "https:/user:secret@proxy.test",
    ]) {
      const { exitCode, stderr } = await runProgram({ env: { HTTPS_PROXY: value }, input: "sk-x\n" });
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith(
        "responses-api-proxy: error: HTTPS_PROXY must be a URL such as http://proxy.example:3128\n",
      );
      expect(stderr).not.toContain("secret");
    }
  });

  test("NODE_TLS_REJECT_UNAUTHORIZED=0 does not make an untrusted upstream acceptable", async () => {
    const authority = await makeAuthority();
    const upstream = new RawUpstream({ tls: authority.server });
    const args = [`--upstream-url=${upstream.url}`];
    const proxy = await Proxy.start({ args, env: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(502);
    expect(upstream.bytesReceived).toBe(0);
    const trusting = await Proxy.start({ args, env: trust(authority, temporaryDirectory()) });
    expect((await roundTrip(trusting.port, REQUEST)).status).toBe(200);
  });

  // The pipe stays open: with a debugger, the program would wait and the key would be read.
  test("BUN_INSPECT: the program does not start, and the key is not read", async () => {
    const pipe = new Pipe();
    pipe.write(`${CANARY_KEY}\n`);
    const { exitCode, stderr } = await runProgram({
      env: { BUN_INSPECT: "127.0.0.1:0/x" },
      input: pipe.reader,
    });
    expect(exitCode).toBe(1);
    expect(stderr).not.toContain(CANARY_KEY);
    expect(pipe.unread()).toBe(CANARY_KEY.length + 1);
  });

  test("BUN_OPTIONS cannot have a file run before the program", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "evil.ts"), 'console.error("EVIL")');
    const env = { BUN_OPTIONS: `--preload ${directory}/evil.ts` };
    const { exitCode, stderr } = await runProgram({ env, input: `${CANARY_KEY}\n` });
    expect(exitCode).toBe(1);
    expect(stderr).not.toMatch(/^EVIL/m);
  });

  test.each(["reexec", "prepared", "else"])(
    "the mark of such a start, %s, is not trusted by itself",
    async (mark) => {
      const env = { RESPONSES_API_PROXY_STAGE: mark, OPENAI_API_KEY: "sk-x" };
      const unexpected = [
        ...(mark === "else" ? ["RESPONSES_API_PROXY_STAGE"] : []),
        "OPENAI_API_KEY",
        ...Object.keys(SETTINGS),
      ];
      expect(await runProgram({ env, input: `${CANARY_KEY}\n` })).toEqual({
        exitCode: 3,
        signal: null,
        stdout: "",
        stderr:
          `responses-api-proxy: error: not started with a clean environment: ${unexpected.join(", ")}\n` +
          "responses-api-proxy: hint: RESPONSES_API_PROXY_STAGE is internal: unset it\n",
      });
    },
  );

  test.skipIf(lacks("/proc without hidepid")).each(["reexec", "prepared"])(
    "a forged second start, %s, in a clean environment has every protection that must hold (needs /proc without hidepid)",
    async (mark) => {
      const env = { ...SETTINGS, RESPONSES_API_PROXY_STAGE: mark };
      const proxy = await Proxy.start({ env });
      expect(proxy.stderr).toContain("listening");
      expect(readFileSync(`/proc/${proxy.pid}/status`, "utf8")).toMatch(/^NoNewPrivs:\t1$/m);
      expect(readFileSync(`/proc/${proxy.pid}/limits`, "utf8")).toMatch(
        /^Max core file size +([01]) +\1 +bytes/m,
      );
    },
  );
});
