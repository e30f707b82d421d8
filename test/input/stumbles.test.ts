// Starts that fail although the command line is right: the message says what to do about it.

import { beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { likelierUpstream } from "../../src/input/upstream-url.ts";
import { lacks } from "../harness/needs.ts";
import { CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, reachableBinary, UNREADABLE } from "../harness/users.ts";

const upstream = new RawUpstream();
const lines = (stderr: string): string[] =>
  stderr
    .trimEnd()
    .split("\n")
    .map((line) => line.replace("responses-api-proxy: ", ""));

describe("no key", () => {
  test.each(["", "\n", "\r\n", "\nsk-on-the-second-line\n"])(
    "%j: says where it may have gone",
    async (input) => {
      const { exitCode, stderr } = await runProgram({ input });
      expect(exitCode).toBe(1);
      expect(lines(stderr)).toEqual([
        "error: standard input has no key in it",
        "hint: nothing came before the first newline: is OPENAI_API_KEY set and exported here, or the file empty?",
        "hint: in GitHub Actions a pull request from a fork gets no secrets",
      ]);
    },
  );

  test("Bearer before it: named among the usual mistakes, and the message does not depend on the input", async () => {
    const [bearer, other] = await Promise.all(
      ["Bearer sk-qqqq\n", "sk qqqq\n"].map((input) => runProgram({ input })),
    );
    expect(lines(bearer!.stderr)[2]).toContain("the word Bearer");
    expect(bearer).toEqual(other!);
  });
});

describe("a port", () => {
  const hint = "hint: leave --port out to get a free port, and read it from the --server-info file";

  test("that another program has", async () => {
    const { exitCode, stderr } = await runProgram({ input: "sk-x\n", args: [`--port=${upstream.port}`] });
    expect(exitCode).toBe(1);
    expect(lines(stderr)).toEqual([
      `error: cannot listen on 127.0.0.1:${upstream.port}: another program has that port (EADDRINUSE)`,
      hint,
    ]);
  });

  test.skipIf(lacks("root", "mount namespaces"))(
    "of a proxy in another PID namespace: status claims no start of another process (needs root, mount namespaces)",
    async () => {
      const file = join(temporaryDirectory(), "server-info.json");
      // In its namespace the proxy is process 1; here, process 1 is another process.
      const launcher = ["unshare", "--pid", "--fork", "--kill-child"];
      const proxy = await Proxy.start({ launcher, args: ["--server-info", file, "--http-shutdown"] });
      const { exitCode, stdout } = await runProgram({ args: ["status", file] });
      expect(stdout).toMatch(/^responses-api-proxy \S+ on http:\/\/127\.0\.0\.1:\d+, pid 1\n$/);
      expect(exitCode).toBe(0);
      expect(JSON.parse((await runProgram({ args: ["status", "--json", file] })).stdout)).toMatchObject({
        alive: true,
        pid: 1,
        since: null,
      });
      await fetch(`${proxy.baseUrl}/shutdown`);
      await proxy.ended();
    },
  );
});

describe("a key file as containers have it", () => {
  /** DIR/..data → DIR/..2026, DIR/key → ..data/key */
  function kubernetesVolume(mode: number): string {
    const volume = temporaryDirectory();
    mkdirSync(join(volume, "..2026"));
    writeFileSync(join(volume, "..2026/key"), `${CANARY_KEY}\n`);
    chmodSync(join(volume, "..2026/key"), mode);
    chmodSync(join(volume, "..2026"), 0o755);
    symlinkSync("..2026", join(volume, "..data"));
    symlinkSync("..data/key", join(volume, "key"));
    return volume;
  }
  const refused = async (file: string): Promise<string[]> => {
    const { exitCode, stderr } = await runProgram({ args: [`--key-file=${file}`] });
    expect(exitCode).toBe(1);
    return lines(stderr);
  };
  const POD = "the pod needs fsGroup, and the secret's volume defaultMode: 0440";

  test("Kubernetes' symlinks are followed, and it serves", async () => {
    const named = join(kubernetesVolume(0o400), "key");
    await Proxy.start({ args: [`--key-file=${named}`, `--upstream-url=${upstream.url}`] });
  });

  test("Kubernetes' default mode: the hint is not chmod, which fails there", async () => {
    const named = join(kubernetesVolume(0o644), "key");
    expect(await refused(named)).toEqual([
      `error: cannot read --key-file '${named}': others may read or write it`,
      `hint: ${POD}`,
    ]);
  });

  test.skipIf(lacks("root"))("Kubernetes without fsGroup: the hint names it (needs root)", async () => {
    const volume = kubernetesVolume(0o400);
    chmodSync(volume, 0o1777);
    const launcher = as(ALICE);
    const { stderr } = await runProgram({
      args: [`--key-file=${volume}/key`],
      launcher,
      binary: reachableBinary(UNREADABLE),
    });
    expect(lines(stderr)).toEqual([`error: cannot read --key-file '${volume}/key': EACCES`, `hint: ${POD}`]);
  });

  test.skipIf(lacks("root"))(
    "root's alone: the hint says who must be able to read it (needs root)",
    async () => {
      const file = join(temporaryDirectory(), "key");
      writeFileSync(file, `${CANARY_KEY}\n`);
      chmodSync(file, 0o400);
      const [launcher, binary] = [as(ALICE), reachableBinary(UNREADABLE)];
      const { stderr } = await runProgram({ args: [`--key-file=${file}`], launcher, binary });
      expect(lines(stderr)).toEqual([
        `error: cannot read --key-file '${file}': EACCES`,
        `hint: user ${ALICE}, who starts it, must be able to read it`,
      ]);
    },
  );

  test("a mode that cannot be changed: the hint is standard input, and with that it serves", async () => {
    const file = join(temporaryDirectory(), "key");
    writeFileSync(file, `${CANARY_KEY}\n`);
    chmodSync(file, 0o444);
    expect(await refused(file)).toEqual([
      `error: cannot read --key-file '${file}': others may read or write it`,
      `hint: chmod 600 '${file}'`,
      `hint: if its mode cannot be changed, as a container's secret: leave --key-file out and start with < '${file}'`,
    ]);
    await Proxy.start({ launcher: ["sh", "-c", `exec "$0" "$@" < '${file}'`] });
  });
});

describe("two flags that lead to one place by two paths", () => {
  /** DIR/real, and DIR/link, which leads there; DIR/real/key has a key in it. */
  function twoPaths(): { real: string; link: string } {
    const directory = temporaryDirectory();
    const [real, link] = [join(directory, "real"), join(directory, "link")];
    mkdirSync(real);
    symlinkSync("real", link);
    writeFileSync(join(real, "key"), `${CANARY_KEY}\n`, { mode: 0o600 });
    return { real, link };
  }

  const WRITTEN = ["server-info", "client-token", "socket"] as const;
  const PAIRS = [
    ...WRITTEN.flatMap((first, index) => WRITTEN.slice(index + 1).map((second) => [first, second])),
    ...WRITTEN.flatMap((written) => ["dump-dir", "key-file"].map((other) => [other, written])),
  ] as [first: string, second: string][];
  test.each(PAIRS)(
    "--%s and --%s: refused before there is a key, and nothing is replaced",
    async (first, second) => {
      const { real, link } = twoPaths();
      const args = [`--${first}=${real}/key`, `--${second}=${link}/key`];
      if (first !== "key-file") rmSync(join(real, "key"));
      const { exitCode, stderr } = await runProgram({ args });
      expect(lines(stderr)).toEqual([
        `error: cannot write --${second} '${link}/key': --${first} leads to the same place`,
        "hint: give each of the two a place of its own",
      ]);
      expect(exitCode).toBe(1);
      if (first === "key-file") expect(readFileSync(join(real, "key"), "utf8")).toBe(`${CANARY_KEY}\n`);
      else expect(readdirSync(real)).toEqual(first === "dump-dir" ? ["key"] : []);
    },
  );

  test("by the same path, however it is spelled: a wrong command line", async () => {
    const args = ["--server-info=/tmp/a/x", "--socket=/tmp/a/../a//./x"];
    const { exitCode, stderr } = await runProgram({ args });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--key-file, --log-file and --dump-dir must be different\n");
  });

  test("the neighbours: one name in two directories, two names in one, and a symlink to the key's file", async () => {
    const { real, link } = twoPaths();
    const other = temporaryDirectory();
    symlinkSync(join(real, "key"), join(real, "x"));
    const { stderr } = await Proxy.start({
      args: [
        `--key-file=${real}/key`,
        `--server-info=${link}/x`,
        `--client-token=${real}/y`,
        `--socket=${other}/x`,
        `--dump-dir=${other}/y`,
      ],
    });
    expect(stderr).not.toContain("error");
    expect(readFileSync(join(real, "x"), "utf8")).toStartWith("{");
    expect(readFileSync(join(real, "key"), "utf8")).toBe(`${CANARY_KEY}\n`);
  });
});

describe("notices at the start", () => {
  /** The lines that a proxy writes between its protections line and its last line. */
  async function remarks(args: string[], env: Record<string, string> = {}): Promise<string[]> {
    const proxy = await Proxy.start({ args, env });
    const { stderr } = await proxy.stop();
    expect(stderr).not.toContain("sk-canary");
    return lines(stderr).filter((line) => !/^(listening|protections|in force|ended)/.test(line));
  }
  /** The warnings about this machine and this user, which these tests leave out. */
  let usual: string[] = [];
  beforeAll(async () => void (usual = await remarks([])));
  const more = async (args: string[], env?: Record<string, string>): Promise<string[]> =>
    (await remarks(args, env)).filter((line) => !usual.includes(line));

  test("a base URL in place of the upstream's", async () => {
    expect(await more(["--upstream-url=https://a.test/v1?secret=1"])).toEqual([
      "warning: the path of --upstream-url, /v1, does not end in /responses",
      "hint: every request goes to exactly that URL; was https://a.test/v1/responses meant?",
    ]);
    expect(await more([`--upstream-url=${upstream.url}`])).toEqual([]);
  });

  const UPSTREAMS: [url: string, meant: string | undefined][] = [
    ["https://api.openai.com", "https://api.openai.com/v1/responses"],
    ["https://api.openai.com/v1", "https://api.openai.com/v1/responses"],
    ["https://api.openai.com/v1/", "https://api.openai.com/v1/responses"],
    ["https://api.openai.com/v1/responses/", "https://api.openai.com/v1/responses"],
    ["https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses"],
    ["https://x.test/base", "https://x.test/base/responses"],
    ["https://api.openai.com/v1/responses", undefined],
    ["https://x.openai.azure.com/openai/deployments/d/responses?api-version=2025-04-01-preview", undefined],
    ["https://x.openai.azure.com/openai/v1/responses?api-version=preview", undefined],
  ];
  test.each(UPSTREAMS)("%s", (url, meant) => {
    expect(likelierUpstream(new URL(url))).toBe(meant);
  });

  test.each(["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])("%s that does not exist", async (name) => {
    const file = join(temporaryDirectory(), "authorities.pem");
    expect(await more([], { [name]: file })).toEqual([
      `warning: ${name}=${file} cannot be read (ENOENT): no authority is taken from there`,
    ]);
    writeFileSync(file, "");
    expect(await more([], { [name]: file })).toEqual([]);
  });

  test("proxy variables that are not used: their names, never their values", async () => {
    const env = { ALL_PROXY: "http://u:sk-canary@proxy.test:1", http_proxy: "http://sk-canary.test" };
    const line = "not used: ALL_PROXY, http_proxy; of the proxy variables only HTTPS_PROXY and NO_PROXY are";
    expect(await more([], env)).toEqual([line]);
    expect(await more([], { ...env, HTTPS_PROXY: "http://127.0.0.1:9" })).toEqual([]);
    expect(await more([`--upstream-url=${upstream.url}`], env)).toEqual([]);
  });
});
