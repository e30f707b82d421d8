// The GitHub Action, as a runner executes it: the built files with Node.js, by the runner's protocol, with a release on 127.0.0.1.

import { beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { version } from "../../package.json";
import { bundleOf, FILES } from "../../packaging/action/build.ts";
import { atEnd } from "../harness/cleanup.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { BINARY, CANARY_KEY, isAlive, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { as, isRoot, ORDINARY } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();
const home = temporaryDirectory();
/** The two bundles, whose release is the one below. */
const [START, STOP] = [join(home, "start.mjs"), join(home, "stop.mjs")];
const INSTALLED = join(home, "installed/responses-api-proxy");
/** Stands in for the program where only its arguments and its input matter. */
const RECORDER = `#!/bin/sh
for arg; do case $arg in --server-info=*) info=\${arg#*=} ;; --log-file=*) log=\${arg#*=} ;; esac; done
{ printf '%s\\n' "$@"; env; } > "$log"
cat > "$log.input"
mkdir -p "\${info%/*}"
echo "{\\"port\\":1,\\"pid\\":1}" > "$info"
`;

const digestOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** A package as npm packs it, but not compressed: that would take seconds. */
function tarballOf(program: Uint8Array): Uint8Array {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, "package/bin"), { recursive: true });
  writeFileSync(join(directory, "package/README.md"), "first\n");
  writeFileSync(join(directory, "package/bin/responses-api-proxy"), program, { mode: 0o755 });
  Bun.spawnSync(["tar", "--format=ustar", "-cf", "served.tar", "package"], { cwd: directory });
  const tarball = Bun.gzipSync(readFileSync(join(directory, "served.tar")), { level: 0 });
  rmSync(directory, { recursive: true });
  return tarball;
}

beforeAll(async () => {
  const program = readFileSync(BINARY);
  const recorder = Buffer.from(RECORDER);
  const served: Record<string, Uint8Array> = {
    "/1.0.0": tarballOf(program),
    "/2.0.0": tarballOf(recorder),
    "/3.0.0": tarballOf(Buffer.from("another program")),
    "/4.0.0": Buffer.from("no tarball"),
  };
  const registry = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => {
      const file = served[new URL(url).pathname];
      return file === undefined ? new Response("", { status: 404 }) : new Response(file);
    },
  });
  atEnd(() => registry.stop(true));
  const digests = (digest: string): object => {
    const targets = ["linux-x64", "linux-x64-musl", "linux-arm64", "linux-arm64-musl"];
    return Object.fromEntries(targets.map((target) => [target, digest]));
  };
  const real = digests(digestOf(program));
  const releases = {
    "1.0.0": real,
    "2.0.0": digests(digestOf(recorder)),
    "3.0.0": real,
    "4.0.0": real,
    "5.0.0": real,
  };
  const contents = `
    export const RELEASES = ${JSON.stringify(releases)};
    export const LATEST = "1.0.0";
    export const addressOf = (target, release) => "http://127.0.0.1:${registry.port}/" + release;
    export const INSTALLED = ${JSON.stringify(INSTALLED)};
    export const SUDO = "/nonexistent/sudo";`;
  const plugin: Bun.BunPlugin = {
    name: "a release on 127.0.0.1",
    setup: (build) => {
      build.onLoad({ filter: /packaging\/action\/release\.ts$/ }, () => ({ contents, loader: "ts" }));
    },
  };
  writeFileSync(START, await bundleOf("main.ts", [plugin]));
  writeFileSync(STOP, await bundleOf("stop.ts", [plugin]));
  mkdirSync(join(home, "installed"));
}, 60_000);

/** A job on a runner: its directories, and a checkout that a pull request controls. */
class Job {
  readonly directory = temporaryDirectory();
  readonly checkout = join(this.directory, "checkout");
  readonly home = join(this.directory, "home");
  readonly temp = join(this.directory, "temp");
  readonly output = join(this.directory, "output");
  readonly #launcher: string[];

  constructor(uid = process.getuid!()) {
    // Without the sh at its end, which drops variables whose names have a hyphen.
    this.#launcher = as(uid).slice(0, -3);
    this.#makeHostile(join(this.checkout, "node_modules/.bin"));
    for (const path of [this.home, this.temp]) mkdirSync(path);
    writeFileSync(this.output, "");
    for (const path of [this.directory, this.home, this.temp, this.output, this.checkout])
      chownSync(path, uid, process.getgid!());
  }

  /** Files that package managers, Node.js and Bun obey in a working directory. Whatever works leaves a file `taken`. */
  #makeHostile(bin: string): void {
    mkdirSync(bin, { recursive: true });
    chmodSync(this.directory, 0o755);
    const taken = `writeFileSync("${this.directory}/taken", "")`;
    const files = {
      ".npmrc": "registry=http://127.0.0.1:1/\nignore-scripts=false\n",
      "package.json": '{"type":"commonjs","imports":{"#x":"./evil.cjs"}}',
      "evil.cjs": `require("node:fs").${taken}`,
      "bunfig.toml": 'preload = ["./evil.cjs"]',
      ".env": "BUN_OPTIONS=--preload=./evil.cjs\nHTTPS_PROXY=http://127.0.0.1:1\n",
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.checkout, name), text);
    for (const name of ["npm", "curl", "tar", "sh", "sudo", "cat", "chown", "mktemp", "mv", "setcap", "env"])
      writeFileSync(join(bin, name), `#!/bin/sh\n: > '${this.directory}/taken'\n`, { mode: 0o755 });
  }

  async #run(
    script: string,
    env: Record<string, string>,
  ): Promise<{ exitCode: number | null; lines: string[] }> {
    const { exitCode, stdout, stderr } = await runProgram({
      launcher: [...this.#launcher, "/usr/bin/env", `PATH=${this.checkout}/node_modules/.bin:/usr/bin:/bin`],
      binary: Bun.which("node")!,
      args: [script],
      cwd: this.checkout,
      env: {
        HOME: this.home,
        RUNNER_TEMP: this.temp,
        GITHUB_OUTPUT: this.output,
        GITHUB_RUN_ID: "42",
        // What a workflow may have set for its other steps.
        NODE_OPTIONS: "--max-old-space-size=512",
        BUN_BE_BUN: "1",
        BUN_OPTIONS: "--preload=./evil.cjs",
        npm_config_registry: "http://127.0.0.1:1/",
        ...env,
      },
      seconds: 30,
    });
    expect(existsSync(join(this.directory, "taken"))).toBe(false);
    return { exitCode, lines: (stdout + stderr).split("\n").filter((line) => line !== "") };
  }

  start(inputs: Record<string, string> = {}, env: Record<string, string> = {}) {
    const given = { "openai-api-key": CANARY_KEY, "upstream-url": upstream.url, ...inputs };
    const variables = Object.entries(given).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value]);
    return this.#run(START, { ...Object.fromEntries(variables), ...env });
  }

  stop() {
    return this.#run(STOP, {});
  }

  /** The outputs of the step. */
  outputs(): Record<string, string> {
    const text = readFileSync(this.output, "utf8");
    return Object.fromEntries(
      [...text.matchAll(/^(\S+)<<(\S+)\n(.*)\n\2$/gm)].map(([, name, , value]) => [name!, value!]),
    );
  }

  /** The content of every file that the job has left, but for the checkout. */
  files(): string {
    return [this.home, this.temp]
      .flatMap((path) => readdirSync(path, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile() && entry.name !== "responses-api-proxy")
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
      .concat(readFileSync(this.output, "utf8"))
      .join("\n");
  }

  /** The log of the one proxy. */
  log(): string {
    const [line] = readFileSync(join(this.temp, "responses-api-proxy.started"), "utf8").split("\n");
    return (JSON.parse(line!) as { log: string }).log;
  }
}

const USERS: [string, number][] = [
  ["a user who can become root", process.getuid!()],
  ["a user without sudo", ORDINARY],
];

describe.skipIf(lacks("node"))("a job in a hostile checkout (needs node)", () => {
  test.each(isRoot ? USERS : USERS.slice(1))(
    "as %s: the proxy serves, the key is nowhere else, and stop ends it",
    async (_, uid) => {
      const job = new Job(uid);
      const { exitCode, lines } = await job.start();
      const info = join(job.home, ".codex/42.json");
      const { pid } = JSON.parse(readFileSync(info, "utf8")) as { pid: number };
      // If this test fails before it stops the proxy.
      atEnd(() => {
        if (isAlive(pid)) process.kill(pid, "SIGKILL");
      });
      expect(lines[0]).toBe(`::add-mask::${CANARY_KEY}`);
      expect(lines.slice(1).join("\n")).not.toContain(CANARY_KEY);
      expect({ exitCode, errors: lines.filter((line) => line.startsWith("::error::")) }).toEqual({
        exitCode: 0,
        errors: [],
      });

      const { port = "", ...others } = job.outputs();
      expect(others).toEqual({ "base-url": `http://127.0.0.1:${port}`, "server-info": info });
      upstream.requests.length = 0;
      expect((await roundTrip(Number(port), REQUEST)).status).toBe(200);
      expect(upstream.requests[0]!.fields).toContainEqual(["authorization", `Bearer ${CANARY_KEY}`]);

      expect(job.files()).not.toContain(CANARY_KEY);
      expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(CANARY_KEY);
      if (isRoot) expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain(CANARY_KEY);
      if (uid === 0) {
        const { mode, uid: owner, gid } = statSync(INSTALLED);
        expect([mode & 0o7777, owner, gid]).toEqual([0o710, 0, 0]);
      } else expect(lines.join("\n")).toContain("::warning::there is no sudo here");

      const stopped = await job.stop();
      expect(stopped.exitCode).toBe(0);
      expect(stopped.lines[0]).toBe("::group::responses-api-proxy");
      expect(stopped.lines.at(-1)).toBe("::endgroup::");
      expect(stopped.lines.join("\n")).toContain(`listening on http://127.0.0.1:${port}`);
      expect(stopped.lines.join("\n")).not.toContain(CANARY_KEY);
      await until(() => !isAlive(pid), "the proxy to end");
      expect([existsSync(info), existsSync(join(job.temp, "responses-api-proxy.started"))]).toEqual([
        false,
        false,
      ]);
      expect(await job.stop()).toEqual({ exitCode: 0, lines: [] });
    },
    60_000,
  );

  const NO_KEY = { "openai-api-key": "" };
  const ONE = { ...NO_KEY, "oidc-audience": "a" };
  const ALL = { ...ONE, "identity-provider-id": "p", "service-account-id": "s" };
  test.each([
    ["no key", NO_KEY, /^openai-api-key is empty: .* a fork's pull request, which gets no secrets$/],
    ["a key of blanks", { "openai-api-key": " \n" }, /^openai-api-key is empty: /],
    ["one input for OIDC of three", ONE, /^identity-provider-id is empty: .* go together$/],
    ["a key and OIDC", { ...ALL, "openai-api-key": CANARY_KEY }, /a job needs one of the two$/],
    ["OIDC without the permission", ALL, /the job needs permissions: id-token: write/],
    ["strict: maybe", { strict: "maybe" }, /^strict must be true or false$/],
    [
      "a version that the action does not know",
      { version: "9.9.9" },
      /^version "9\.9\.9": .* knows 1\.0\.0, /,
    ],
    ["a version as an object's own", { version: "constructor" }, /^version "constructor": /],
    [
      "a program with another digest",
      { version: "3.0.0" },
      /has the SHA-256 [0-9a-f]{64}, and not [0-9a-f]{64}$/,
    ],
    ["what is no package", { version: "4.0.0" }, /^the package is no gzip file/],
    ["a package that is not there", { version: "5.0.0" }, /^http:\S+ cannot be fetched: status 404$/],
    [
      "an upstream that the proxy refuses",
      { "upstream-url": "ftp://x" },
      /^the proxy did not start \(exit code 2\)/,
    ],
  ] as [string, Record<string, string>, RegExp][])(
    "%s: exit code 1, and one line",
    async (_, inputs, message) => {
      rmSync(INSTALLED, { force: true });
      const job = new Job();
      const { exitCode, lines } = await job.start(inputs);
      const errors = lines.filter((line) => line.startsWith("::error::"));
      expect({ exitCode, errors }).toEqual({ exitCode: 1, errors: [expect.stringMatching(/^::error::/)] });
      expect(errors[0]!.slice("::error::".length)).toMatch(message);
      expect(lines.filter((line) => line.includes(CANARY_KEY) && !line.startsWith("::add-mask::"))).toEqual(
        [],
      );
      expect(job.files()).toBe("");
      if (!("upstream-url" in inputs)) expect(existsSync(INSTALLED)).toBe(false);
    },
    60_000,
  );

  test.each(["--require=./harmless.cjs", "--title=x -r ./harmless.cjs", "--import ./harmless.mjs"])(
    "NODE_OPTIONS=%s: exit code 1",
    async (options) => {
      const job = new Job();
      for (const name of ["harmless.cjs", "harmless.mjs"]) writeFileSync(join(job.checkout, name), "");
      const { exitCode, lines } = await job.start({}, { NODE_OPTIONS: options });
      expect({ exitCode, lines }).toEqual({
        exitCode: 1,
        lines: [expect.stringMatching(/^::error::NODE_OPTIONS loads other code into this step/)],
      });
    },
  );

  test("the proxy gets its flags, the key through the pipe, and of the environment what is listed", async () => {
    const job = new Job();
    const environment = {
      GITHUB_TOKEN: "ghs_canary",
      LD_LIBRARY_PATH: "/nonexistent",
      HTTPS_PROXY: "http://127.0.0.1:9",
    };
    const inputs = {
      version: "2.0.0",
      strict: "True",
      lifetime: "2h",
      "server-info": join(job.temp, "info.json"),
    };
    const { exitCode } = await job.start(inputs, environment);
    expect(exitCode).toBe(0);
    const recorded = readFileSync(job.log(), "utf8").trim().split("\n");
    expect(recorded.filter((line) => line.startsWith("--"))).toEqual([
      "--background",
      `--server-info=${join(dirname(job.log()), "proxy/server-info.json")}`,
      `--log-file=${job.log()}`,
      "--lifetime=2h",
      `--upstream-url=${upstream.url}`,
      "--strict",
    ]);
    expect(
      recorded
        .filter((line) => !line.startsWith("--") && !line.startsWith("_="))
        .map((line) => line.split("=")[0])
        .sort(),
    ).toEqual(["HOME", "HTTPS_PROXY", "PWD"]);
    expect(readFileSync(`${job.log()}.input`, "utf8")).toBe(`${CANARY_KEY}\n`);
    expect(JSON.parse(readFileSync(join(job.temp, "info.json"), "utf8"))).toEqual({ port: 1, pid: 1 });
  });

  test("a server-info that cannot be written: one line, and stop knows what to end", async () => {
    const job = new Job();
    const { exitCode, lines } = await job.start({ version: "2.0.0", "server-info": "/dev/null/a/info.json" });
    expect(exitCode).toBe(1);
    expect(lines.filter((line) => line.startsWith("::error::"))).toEqual([
      "::error::server-info cannot be written: ENOTDIR",
    ]);
    expect(existsSync(job.log())).toBe(true);
  });

  test("a key of two lines is masked in one, and no line of it is printed", async () => {
    const job = new Job();
    const { lines } = await job.start({ version: "2.0.0", "openai-api-key": `${CANARY_KEY}\nsecond%` });
    // An ordinary user is warned, too.
    expect(lines.filter((line) => !line.startsWith("::warning::"))).toEqual([
      `::add-mask::${CANARY_KEY}%0Asecond%25`,
    ]);
  });

  test("by OIDC: the request token is masked and goes through the pipe", async () => {
    const job = new Job();
    const { exitCode, lines } = await job.start(
      { ...ALL, version: "2.0.0", "upstream-url": "" },
      {
        ACTIONS_ID_TOKEN_REQUEST_URL: "https://example.test/token?x=1",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: "a.request.token",
      },
    );
    expect({ exitCode, first: lines[0] }).toEqual({ exitCode: 0, first: "::add-mask::a.request.token" });
    const recorded = readFileSync(job.log(), "utf8").split("\n");
    expect(recorded.slice(0, 6)).toEqual([
      "--background",
      "--github-oidc",
      "--github-oidc-request-url=https://example.test/token?x=1",
      "--oidc-audience=a",
      "--identity-provider-id=p",
      "--service-account-id=s",
    ]);
    expect(recorded.join("\n")).not.toContain("a.request.token");
    expect(readFileSync(`${job.log()}.input`, "utf8")).toBe("a.request.token\n");
  });

  describe("stop obeys nothing that an agent of the same user has written", () => {
    const note = (job: Job, started: object | string): void =>
      writeFileSync(
        join(job.temp, "responses-api-proxy.started"),
        typeof started === "string" ? started : `${JSON.stringify(started)}\n`,
      );

    test("commands in the log are printed, between two lines that switch them off", async () => {
      const job = new Job();
      writeFileSync(join(job.temp, "log"), "::set-env name=PATH::x\n::add-mask::a\n");
      note(job, { pid: 1, since: "1", log: join(job.temp, "log") });
      const { lines } = await job.stop();
      const [, token] = /^::stop-commands::(\S{36})$/.exec(lines[2]!)!;
      expect(lines).toEqual([
        "::warning::responses-api-proxy had ended before the job did",
        "::group::responses-api-proxy",
        `::stop-commands::${token}`,
        "::set-env name=PATH::x",
        "::add-mask::a",
        `::${token}::`,
        "::endgroup::",
      ]);
    });

    test("a symlink or a FIFO in place of the log is not read", async () => {
      const job = new Job();
      writeFileSync(join(job.temp, "secret"), "a secret");
      symlinkSync("secret", join(job.temp, "link"));
      Bun.spawnSync(["mkfifo", join(job.temp, "fifo")]);
      for (const [name, said] of [
        ["link", "(no log: ELOOP)"],
        ["fifo", "(the log is no file any more)"],
        ["none", "(no log: ENOENT)"],
      ] as const) {
        note(job, { pid: 1, since: "1", log: join(job.temp, name) });
        expect((await job.stop()).lines[3]).toBe(said);
      }
    });

    test("a process with the pid, but another start, is left alone; garbage is nothing", async () => {
      const job = new Job();
      const other = Bun.spawn(["sleep", "60"]);
      try {
        note(job, { pid: other.pid, since: "1", log: "/nonexistent" });
        expect((await job.stop()).exitCode).toBe(0);
        expect(isAlive(other.pid)).toBe(true);
        note(job, "garbage");
        expect(await job.stop()).toEqual({ exitCode: 0, lines: [] });
      } finally {
        other.kill("SIGKILL");
        await other.exited;
      }
    });
  });
});

describe("what is committed", () => {
  test.each(Object.entries(FILES) as [keyof typeof FILES, string][])(
    "%s is built into %s, byte for byte (or else: npm run action)",
    async (source, file) => {
      expect(readFileSync(file, "utf8")).toBe(await bundleOf(source));
    },
  );

  type Definition = {
    inputs?: Record<string, { default: string }>;
    outputs?: object;
    runs: Record<string, string>;
  };
  const definitionOf = (file: string) => Bun.YAML.parse(readFileSync(file, "utf8")) as Definition;

  test("action.yml: its inputs are those that the code takes; no post, whose environment would have the key", () => {
    const { inputs, outputs, runs } = definitionOf("action.yml");
    const code = readFileSync("packaging/action/main.ts", "utf8");
    const [, oidc] = /const OIDC = \[(.*)\]/.exec(code)!;
    const taken = [...`${code}`.matchAll(/takeInput\("(.*?)"\)/g), ...oidc!.matchAll(/"(.*?)"/g)].map(
      ([, name]) => name!,
    );
    expect(Object.keys(inputs!).sort()).toEqual(taken.sort());
    expect(Object.keys(outputs!)).toEqual([...code.matchAll(/setOutput\("(.*?)"/g)].map(([, name]) => name!));
    expect(runs).toEqual({ using: "node24", main: FILES["main.ts"] });
  });

  test("stop/action.yml: no inputs, so no key", () => {
    expect(definitionOf("stop/action.yml")).toMatchObject({
      runs: { using: "node24", main: `../${FILES["stop.ts"]}` },
    });
    expect(definitionOf("stop/action.yml").inputs).toBeUndefined();
  });

  test("docs/github-actions.md: the inputs and outputs that it names exist, and the proxy is always stopped", () => {
    const { inputs, outputs } = definitionOf("action.yml");
    const [, section] = /^## The action\n([\s\S]*?)^## /m.exec(
      readFileSync("docs/github-actions.md", "utf8"),
    )!;
    type Step = { uses: string; if?: string; with?: object };
    const [start, , stop] = Bun.YAML.parse(/```yaml\n([\s\S]*?)```/.exec(section!)![1]!) as Step[];
    expect(start).toMatchObject({ uses: "OWNER/responses-api-proxy@COMMIT" });
    expect(Object.keys(inputs!)).toContain(Object.keys(start!.with!)[0]!);
    expect(stop).toEqual({ uses: "OWNER/responses-api-proxy/stop@COMMIT", if: "always()" });
    for (const name of ["oidc-audience", "identity-provider-id", "service-account-id", "strict", "lifetime"])
      expect(section!.includes(`\`${name}`) && name in inputs!, name).toBe(true);
    for (const name of Object.keys(outputs!)) expect(section).toContain(`\`${name}\``);
  });

  test("installs the version that this is", () => {
    expect(readFileSync(FILES["main.ts"], "utf8")).toContain(`var version = "${version}";`);
  });
});
