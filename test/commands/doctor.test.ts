// `doctor`: what it says of this host is what a start on it comes to, in each of the ways there are to start.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { version } from "../../package.json";
import { FLAGS } from "../../src/input/flags.ts";
import { OIDC_FLAGS } from "../../src/input/oidc/flags.ts";
import { inNamespace, onKernel, reasonsIn, reasonsOf, type Report } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import {
  CANARY_KEY,
  installedBinary,
  linkedBinary,
  Proxy,
  runProgram,
  type Start,
  temporaryDirectory,
} from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, isRoot, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";

const upstream = new RawUpstream();
const UPSTREAM = `--upstream-url=${upstream.url}`;

/** Every check, in the order of a start. */
const IDS =
  "file-readable file-owner user-namespace memory-lock core-dumps key-pages landlock seccomp mdwe user port environment upstream".split(
    " ",
  );

async function doctor({ args = [], ...start }: Start = {}) {
  const url = args.some((arg) => arg.startsWith("--upstream-url=")) ? [] : [UPSTREAM];
  const ended = await runProgram({ ...start, args: ["doctor", "--json", ...url, ...args] });
  expect(ended.stderr).toBe("");
  const report = JSON.parse(ended.stdout) as Report;
  // What is well needs no advice; and none is empty.
  for (const { status, advice } of report.checks) {
    if (status === "ok") expect(advice).toBeNull();
    expect(advice).not.toBe("");
  }
  const { starts, startsStrictly, reachesUpstream } = report;
  return {
    ...ended,
    report,
    concludes: { starts, startsStrictly, reachesUpstream },
    of: (id: string) => report.checks.find((check) => check.id === id),
  };
}

/** How a start with --strict ends that has no key: asking for it, or with what --strict refuses. */
async function strictExitCode({ args = [], ...start }: Start): Promise<number | null> {
  return (await runProgram({ ...start, args: [UPSTREAM, "--strict", ...args] })).exitCode;
}

/** The file as docs/install.md recommends to install it. */
function recommended(): string {
  const path = installedBinary(0o711);
  Bun.spawnSync(["setcap", "cap_ipc_lock=ep", path]);
  return path;
}

type Way = {
  binary: () => string;
  launcher?: string[];
  user?: string[];
  uid: number;
  /** What does not hold, by id. */
  warnings: string[];
};

/** A file that is not root's: its owner may replace it. That is said unless the file can be read, which the same installation mends. */
const NOT_ROOTS = isRoot ? [] : ["file-owner"];

const AS_ORDINARY: [name: string, way: Way][] = [
  [
    "an ordinary user, from a file it can read",
    {
      binary: () => reachableBinary(),
      launcher: as(ORDINARY),
      uid: ORDINARY,
      warnings: ["file-readable", "memory-lock"],
    },
  ],
  [
    "an ordinary user, from a file it cannot read",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: as(ORDINARY),
      uid: ORDINARY,
      warnings: [...NOT_ROOTS, "memory-lock"],
    },
  ],
  [
    "an ordinary user with 64 KiB of locked memory",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: ["prlimit", "--memlock=65536:65536", ...as(ORDINARY)],
      uid: ORDINARY,
      warnings: [...NOT_ROOTS, "memory-lock"],
    },
  ],
  [
    "an ordinary user without any locked memory",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: ["prlimit", "--memlock=0:0", ...as(ORDINARY)],
      uid: ORDINARY,
      warnings: [...NOT_ROOTS, "memory-lock", "key-pages"],
    },
  ],
];

const AS_ROOT: [name: string, way: Way][] = [
  ["root", { binary: () => reachableBinary(), uid: 0, warnings: [] }],
  [
    "root with --user",
    { binary: () => reachableBinary(), user: [`--user=${ALICE}`], uid: ALICE, warnings: [] },
  ],
];

const AS_RECOMMENDED: [name: string, way: Way][] = [
  [
    "an ordinary user, as recommended",
    { binary: recommended, launcher: as(ORDINARY), uid: ORDINARY, warnings: [] },
  ],
];

// What vm.memfd_noexec=2 does, and no disk that takes a copy.
const noCopies = (): string[] => [
  ...inNamespace("mount -t tmpfs -o noexec,mode=1777 none /var/tmp"),
  ...onKernel({ memfd_create: "EACCES" }),
];

const WITHOUT_COPIES: [name: string, way: Way][] = [
  [
    "an ordinary user, from a file it can read, where no copy can be executed",
    {
      binary: () => reachableBinary(),
      launcher: [...noCopies(), ...as(ORDINARY)],
      uid: ORDINARY,
      warnings: ["file-readable", "memory-lock"],
    },
  ],
  [
    "root with --user, where no copy can be executed",
    {
      binary: () => reachableBinary(),
      launcher: noCopies(),
      user: [`--user=${ALICE}`],
      uid: ALICE,
      warnings: ["file-readable"],
    },
  ],
];

describe("it says what a start comes to, with --strict and without, by", () => {
  async function expectTruth(_name: string, way: Way): Promise<void> {
    const { launcher = [], user = [], uid, warnings } = way;
    const binary = way.binary();
    const isStrict = warnings.length === 0;
    const { exitCode, report, of } = await doctor({ binary, launcher, args: ["--strict", ...user] });
    expect(exitCode).toBe(isStrict ? 0 : 1);
    const { checks, ...conclusion } = report;
    expect(conclusion).toEqual({
      version,
      uid,
      upstream: upstream.url,
      starts: true,
      startsStrictly: isStrict,
      reachesUpstream: true,
    });
    expect(checks.map(({ id }) => id)).toEqual(IDS.filter((id) => id !== "file-owner" || of(id)));
    expect(checks.filter(({ status }) => status !== "ok").map(({ id, status }) => [id, status])).toEqual(
      warnings.map((id) => [id, "warning"]),
    );
    // Without a key it ends once everything holds.
    expect(await strictExitCode({ binary, launcher, args: user })).toBe(isStrict ? 1 : 11);
    // And the proxy itself warns of the same, in the same words.
    const proxy = await Proxy.start({ binary, launcher, args: [UPSTREAM, ...user] });
    const { stderr } = await proxy.stop();
    expect(reasonsOf(report, "warning")).toEqual(reasonsIn(stderr, "warning"));
  }

  test.each(AS_ORDINARY)("%s", expectTruth);
  test.skipIf(lacks("root")).each(AS_ROOT)("%s (needs root)", expectTruth);
  test.skipIf(lacks("root", "setcap")).each(AS_RECOMMENDED)("%s (needs root, setcap)", expectTruth);
  test.skipIf(lacks("root", "mount namespaces")).each(WITHOUT_COPIES)(
    "%s (needs root, mount namespaces)",
    expectTruth,
  );
});

test("without --strict, what only --strict refuses is no reason to fail", async () => {
  const binary = reachableBinary();
  const { exitCode, concludes } = await doctor({ binary, launcher: as(ORDINARY) });
  expect(exitCode).toBe(0);
  expect(concludes).toEqual({ starts: true, startsStrictly: false, reachesUpstream: true });
});

const PLENTY = ["prlimit", `--memlock=${2 ** 40}:${2 ** 40}`];
test.skipIf(lacks("root", "CAP_SYS_RESOURCE"))(
  "a limit on locked memory that is enough, and by far, will do (needs root, CAP_SYS_RESOURCE)",
  async () => {
    const binary = reachableBinary(UNREADABLE);
    const { of } = await doctor({ binary, launcher: [...PLENTY, ...as(ALICE)] });
    expect(of("memory-lock")).toMatchObject({ status: "ok", found: "memory locked" });
  },
);

describe("whoever can replace the file is told, and --strict refuses", () => {
  async function expectStrangers(start: Start & { binary: string }, found: string): Promise<void> {
    const { of, concludes } = await doctor(start);
    const words = `users other than root can replace the program's file: ${found}`;
    expect(of("file-owner")).toMatchObject({ status: "warning", found: words });
    expect(concludes).toMatchObject({ starts: true, startsStrictly: false });
    expect(await strictExitCode(start)).toBe(11);
  }

  test("a file, and a directory, of the user's own", async () => {
    const binary = installedBinary(UNREADABLE);
    for (const path of [binary, dirname(binary)]) chownSync(path, ORDINARY, process.getgid!());
    // The mode of a file that its owner cannot read.
    chmodSync(binary, 0o111);
    const found = `${dirname(binary)} is user ${ORDINARY}'s, ${binary} is user ${ORDINARY}'s`;
    await expectStrangers({ binary, launcher: as(ORDINARY) }, found);
  });

  const OPEN: [
    name: string,
    make: (mode: number) => string,
    open: (binary: string) => void,
    found: (binary: string) => string,
  ][] = [
    [
      "a directory that a group may write in",
      linkedBinary,
      (binary) => chmodSync(dirname(binary), 0o775),
      (binary) => `others may write to ${dirname(binary)}`,
    ],
    [
      "a file that others may write",
      installedBinary,
      (binary) => chmodSync(binary, 0o757),
      (binary) => `others may write to ${binary}`,
    ],
    // The sticky bit of a file means nothing.
    [
      "a file that a group may write, with a sticky bit",
      installedBinary,
      (binary) => chmodSync(binary, 0o1775),
      (binary) => `others may write to ${binary}`,
    ],
    [
      "a directory of another user's",
      linkedBinary,
      (binary) => chownSync(dirname(binary), ALICE, 0),
      (binary) => `${dirname(binary)} is user ${ALICE}'s`,
    ],
  ];
  test.skipIf(lacks("root")).each(OPEN)("%s (needs root)", async (_name, make, open, found) => {
    const binary = make(0o755);
    open(binary);
    await expectStrangers({ binary }, found(binary));
  });

  test.skipIf(lacks("root"))(
    "the neighbour: root's file, in root's directories and a sticky one (needs root)",
    async () => {
      const binary = linkedBinary(0o755);
      const { of, concludes } = await doctor({ binary });
      const found = "the program's file and its directories are root's";
      expect(of("file-owner")).toMatchObject({ status: "ok", found });
      expect(concludes.startsStrictly).toBe(true);
      expect(await strictExitCode({ binary })).toBe(1);
    },
  );
});

describe("what keeps the proxy from starting, in the words of the start", () => {
  /** Process IDs differ between two runs. */
  const withoutPids = (text: string): string => text.replace(/process \d+/g, "process N");

  /** A start that ends with this exit code and these words; and what doctor says of the same command line. */
  async function expectRefusal(start: Start, code: number, words: RegExp): Promise<void> {
    const args = start.args ?? [];
    const started = await runProgram({ ...start, args: [UPSTREAM, ...args], input: `${CANARY_KEY}\n` });
    expect(started).toMatchObject({ exitCode: code, stdout: "" });
    const [reason, ...others] = reasonsIn(withoutPids(started.stderr), "error");
    expect(reason!.found).toMatch(words);
    expect(others).toEqual([]);
    const { exitCode, stdout, concludes } = await doctor(start);
    expect(JSON.parse(withoutPids(stdout)).checks).toEqual([{ id: "start", status: "fatal", ...reason! }]);
    expect(concludes).toEqual({ starts: false, startsStrictly: false, reachesUpstream: false });
    expect(exitCode).toBe(1);
  }

  async function expectStarts(start: Start): Promise<void> {
    expect((await doctor(start)).concludes.starts).toBe(true);
  }

  test("a proxy variable that is no URL", async () => {
    const proxy = "proxy.example:3128";
    await expectRefusal({ env: { HTTPS_PROXY: proxy } }, 1, /^HTTPS_PROXY must be a URL/);
    await expectStarts({ env: { HTTPS_PROXY: `http://${proxy}` } });
  });

  test("a variable that says that this is the second start", async () => {
    const env = { RESPONSES_API_PROXY_STAGE: "reexec" };
    await expectRefusal({ env }, 3, /^not started with a clean environment: /);
  });

  test("a key file that others may read", async () => {
    const file = join(temporaryDirectory(), "key");
    writeFileSync(file, `${CANARY_KEY}\n`, { mode: 0o644 });
    const args = [`--key-file=${file}`];
    await expectRefusal({ args }, 1, /^cannot read --key-file '.*': others may read or write it$/);
    chmodSync(file, 0o600);
    await expectStarts({ args });
  });

  test("a dump directory that is open to others", async () => {
    const directory = join(temporaryDirectory(), "dump");
    mkdirSync(directory, { mode: 0o755 });
    const args = [`--dump-dir=${directory}`];
    await expectRefusal({ args }, 1, /^cannot write --dump-dir '.*': others have rights to it$/);
    chmodSync(directory, 0o700);
    await expectStarts({ args });
  });

  test.each(["server-info", "client-token", "socket", "dump-dir"])(
    "--%s in a directory that its user cannot write in",
    async (flag) => {
      const directory = temporaryDirectory();
      const start = {
        binary: reachableBinary(UNREADABLE),
        launcher: as(ORDINARY),
        args: [`--${flag}=${directory}/x`],
      };
      // Root's, if root runs the tests.
      chmodSync(directory, 0o555);
      await expectRefusal(
        start,
        1,
        new RegExp(`^cannot write --${flag} '${directory}/x'(: EACCES| \\(EACCES\\))$`),
      );
      expect(readdirSync(directory)).toEqual([]);
      chmodSync(directory, 0o755);
      if (isRoot) chownSync(directory, ORDINARY, ORDINARY);
      await expectStarts(start);
    },
  );

  test("two flags that lead to one place by two paths", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, "real"));
    symlinkSync("real", join(directory, "link"));
    const args = [`--server-info=${directory}/real/x`, `--socket=${directory}/link/x`];
    await expectRefusal({ args }, 1, /^cannot write --socket '.*': --server-info leads to the same place$/);
    await expectStarts({ args: [args[0]!, `${args[1]}2`] });
  });

  test.skipIf(lacks("root"))("a server-info file in another user's directory (needs root)", async () => {
    const directory = temporaryDirectory();
    const args = [`--server-info=${join(directory, "info")}`];
    chownSync(directory, ALICE, ALICE);
    await expectRefusal(
      { args },
      1,
      new RegExp(`^cannot write --server-info '.*': the directory ${directory} is user ${ALICE}'s$`),
    );
    await expectStarts({ binary: reachableBinary(UNREADABLE), args: [...args, `--user=${ALICE}`] });
  });

  test.skipIf(lacks("root"))("a file that the user of --user cannot execute (needs root)", async () => {
    const binary = reachableBinary(0o700);
    const args = [`--user=${ALICE}`];
    await expectRefusal(
      { binary, args },
      3,
      /^cannot start again with a clean environment \(execve: EACCES\)$/,
    );
    await expectStarts({ binary: reachableBinary(UNREADABLE), args });
  });

  test.skipIf(lacks("root"))("root that may not become another (needs root)", async () => {
    const args = [`--user=${ALICE}`];
    const start = { binary: reachableBinary(UNREADABLE), args };
    await expectRefusal(
      { ...start, launcher: ["setpriv", "--bounding-set=-setuid"] },
      10,
      new RegExp(`^cannot become user ${ALICE} \\(setresuid: EPERM\\)$`),
    );
    await expectStarts({ ...start, launcher: ["setpriv", "--bounding-set=-net_raw"] });
  });

  test("--user without root", async () => {
    const start = { binary: reachableBinary(UNREADABLE), launcher: as(ORDINARY) };
    await expectRefusal({ ...start, args: [`--user=${ORDINARY}`] }, 10, /^--user requires root$/);
    await expectStarts(start);
  });

  test.skipIf(lacks("strace"))("a tracer (needs strace)", async () => {
    const launcher = ["strace", "-f", "-o", "/dev/null"];
    await expectRefusal({ launcher }, 4, /^process N is tracing this one and could read the key$/);
    await expectStarts({});
  });

  test("a port that another program has: the rest is looked at all the same", async () => {
    const port = `--port=${new RawUpstream().port}`;
    const started = await runProgram({ args: [UPSTREAM, port], input: `${CANARY_KEY}\n` });
    expect(started.exitCode).toBe(1);
    const { exitCode, report, concludes } = await doctor({ args: [port] });
    expect(reasonsOf(report, "fatal")).toEqual(reasonsIn(started.stderr, "error"));
    expect(report.checks.filter(({ status }) => status === "fatal").map(({ id }) => id)).toEqual(["port"]);
    expect(concludes).toEqual({ starts: false, startsStrictly: false, reachesUpstream: true });
    expect(exitCode).toBe(1);
  });

  test("a port that the proxy has which the server-info file names", async () => {
    const info = join(temporaryDirectory(), "info");
    const proxy = await Proxy.start({ args: [`--server-info=${info}`] });
    const portOf = async (...more: string[]): Promise<Report["checks"][number]> => {
      const port = more.some((flag) => flag.startsWith("--port=")) ? [] : [`--port=${proxy.port}`];
      const args = ["doctor", "--json", ...port, `--upstream-url=${upstream.url}`, ...more];
      const report = JSON.parse((await runProgram({ args })).stdout) as Report;
      return report.checks.find(({ id }) => id === "port")!;
    };
    expect(await portOf(`--server-info=${info}`)).toMatchObject({
      status: "ok",
      found: `127.0.0.1:${proxy.port} is the running proxy's, which --server-info names`,
    });
    expect(await portOf()).toMatchObject({ status: "fatal" });
    const other = new RawUpstream();
    expect(await portOf(`--server-info=${info}`, `--port=${other.port}`)).toMatchObject({ status: "fatal" });
    await proxy.stop();
  });

  test("a port that is free", async () => {
    const free = new RawUpstream();
    free.stop();
    const { of } = await doctor({ args: [`--port=${free.port}`] });
    expect(of("port")).toMatchObject({ status: "ok", found: `127.0.0.1:${free.port} is free` });
    expect((await doctor()).of("port")).toMatchObject({ status: "ok", found: "a free one on 127.0.0.1" });
  });

  test.skipIf(lacks("root")).each(["nobody-has-this-name", "root"])(
    "--user=%s, which is a wrong command line: as a start says it, and nothing else (needs root)",
    async (user) => {
      const started = await runProgram({ args: ["--user", user] });
      expect(started).toMatchObject({ exitCode: 2, stdout: "" });
      const asked = await runProgram({ args: ["doctor", "--user", user] });
      // Each names its own help.
      expect({ ...asked, stderr: asked.stderr.replace(" doctor --help", " --help") }).toEqual(started);
    },
  );
});

describe("likely mistakes are warnings, in the words of the proxy's log, and keep nothing from starting", () => {
  /** What doctor says of the options. */
  async function mistakesOf(start: Start) {
    const { report, exitCode, concludes } = await doctor({ binary: reachableBinary(), ...start });
    expect(exitCode).toBe(0);
    expect(concludes).toEqual({ starts: true, startsStrictly: isRoot, reachesUpstream: true });
    return report.checks.filter(({ id }) => id === "options");
  }

  /** The first words of the warnings of a start, as doctor has them. */
  async function logged(start: Start): Promise<string[]> {
    const { stderr } = await (await Proxy.start({ binary: reachableBinary(), ...start })).stop();
    return reasonsIn(stderr, "warning").map(({ found }) => found);
  }

  test("a path of --upstream-url that does not end in /responses", async () => {
    const args = [UPSTREAM.replace("/v1/responses", "/v1/chat/completions")];
    const found = "the path of --upstream-url, /v1/chat/completions, does not end in /responses";
    const advice = `every request goes to exactly that URL; was ${upstream.url} meant?`;
    expect(await mistakesOf({ args })).toEqual([{ id: "options", status: "warning", found, advice }]);
    expect(await logged({ args })).toContain(found);
  });

  test("files of certificates that cannot be read", async () => {
    const directory = temporaryDirectory();
    const [missing, there] = ["missing.pem", "there.pem"].map((name) => join(directory, name));
    writeFileSync(there!, "", { mode: 0o644 });
    const env = { SSL_CERT_FILE: missing!, NODE_EXTRA_CA_CERTS: missing! };
    const expected = Object.keys(env).map((name) => ({
      id: "options",
      status: "warning",
      found: `${name}=${missing} cannot be read (ENOENT): no authority is taken from there`,
      advice: "correct it, or leave it out",
    }));
    expect(await mistakesOf({ env })).toEqual(expected);
    expect(await logged({ env, args: [UPSTREAM] })).toEqual(
      expect.arrayContaining(expected.map(({ found }) => found)),
    );
    expect(await mistakesOf({ env: { NODE_EXTRA_CA_CERTS: there! } })).toEqual([]);
  });
});

/** Text as it would be without line breaks and indentation. */
function inOneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

describe("what is shown", () => {
  test("has no arrow where there is no advice", async () => {
    const args = ["--key-file=/nowhere"];
    const { of } = await doctor({ args });
    expect(of("start")).toMatchObject({ status: "fatal", advice: null });
    expect((await runProgram({ args: ["doctor", UPSTREAM, ...args] })).stdout).not.toContain("→");
  });

  test("before the report, only what --log-level lets through", async () => {
    const env = { ALL_PROXY: "http://127.0.0.1:1" };
    const args = ["doctor", "--upstream-url=https://upstream.test:1/"];
    expect((await runProgram({ args, env })).stderr).toContain("not used: ALL_PROXY");
    expect((await runProgram({ args: [...args, "--log-level=warn"], env })).stderr).toBe("");
  });

  // Nobody is there; that has no milliseconds in it.
  const NOWHERE = "http://127.0.0.1:1/v1/models";
  const MARKS: Record<string, string> = { ok: "✓", warning: "!", fatal: "✗" };

  test("is the same as text and as JSON: a mark and an id in each line, advice after →, and 80 columns", async () => {
    // A word that is longer than a line has a line of its own.
    const file = join(temporaryDirectory(), "x".repeat(100));
    writeFileSync(file, "", { mode: 0o644 });
    const env = { HTTPS_PROXY: "http://127.0.0.1:3128", NODE_EXTRA_CA_CERTS: file };
    const start = { binary: reachableBinary(), launcher: as(ORDINARY), env };
    const args = ["doctor", `--upstream-url=${NOWHERE}`];
    const asText = await runProgram({ ...start, args });
    const asJson = await runProgram({ ...start, args: [...args, "--json"] });
    expect(asText).toMatchObject({ exitCode: 1, stderr: "" });
    expect(asJson).toMatchObject({ exitCode: 1, stderr: "" });
    expect(asJson.stdout).toEndWith("}\n");
    expect(asJson.stdout.trimEnd()).not.toContain("\n");
    const { checks, startsStrictly } = JSON.parse(asJson.stdout) as Report;
    expect(startsStrictly).toBe(false);
    expect(new Set(checks.map(({ status }) => status))).toEqual(new Set(["ok", "warning", "fatal"]));
    const sections = checks.map(
      ({ id, status, found, advice }) =>
        `${MARKS[status]} ${id} ${found}${advice === null ? "" : ` → ${advice}`}`,
    );
    expect(inOneLine(asText.stdout)).toBe(
      [
        `responses-api-proxy ${version}, for user ${ORDINARY} and ${NOWHERE}`,
        ...sections,
        "The proxy would start here; with --strict it would not (file-readable, memory-lock);",
        "but it would not reach its upstream: see ✗.",
      ].join(" "),
    );
    const [, listed] = asText.stdout.split("\n\n");
    const lines = listed!.split("\n");
    // Each begins a check, begins its advice, or goes on with either.
    for (const line of lines) expect(line).toMatch(/^( {2}[✓!✗] [a-z-]+ +| {20}(→ | {2})?)(?=[^\s→])/u);
    expect(lines.flatMap((line) => /^ {2}\S ([a-z-]+)/u.exec(line)?.[1] ?? [])).toEqual(
      checks.map(({ id }) => id),
    );
    const long = asText.stdout.split("\n").filter((line) => line.length > 80);
    expect(long).toEqual([`${" ".repeat(20)}NODE_EXTRA_CA_CERTS=${file}`]);
  });

  test("says what ends a start, and that nothing else was looked at", async () => {
    const env = { HTTPS_PROXY: "proxy.example:3128" };
    const { stdout, exitCode } = await runProgram({ args: ["doctor", UPSTREAM], env });
    expect(exitCode).toBe(1);
    const [header, ...rest] = stdout.split("\n\n");
    const uid = process.getuid!();
    expect(inOneLine(header!)).toBe(`responses-api-proxy ${version}, for user ${uid} and ${upstream.url}`);
    expect(rest).toEqual([
      "  ✗ start           HTTPS_PROXY must be a URL such as http://proxy.example:3128\n" +
        "                    → correct it, or start with env -u HTTPS_PROXY",
      "The proxy would not start here: see ✗.\n",
    ]);
  });

  test.skipIf(lacks("root"))("says so if all holds (needs root)", async () => {
    const { stdout } = await runProgram({ binary: reachableBinary(), args: ["doctor", UPSTREAM] });
    expect(stdout).toEndWith("\n\nThe proxy would start here, and with --strict, too.\n");
    expect(stdout).not.toMatch(/[!✗→]/u);
  });

  test("has no colours in a pipe, even if they are forced", async () => {
    const { stdout } = await runProgram({ args: ["doctor", UPSTREAM], env: { FORCE_COLOR: "1" } });
    expect(stdout).toContain("  ✓ landlock ");
    expect(stdout).not.toContain("\x1b");
  });

  test.skipIf(lacks("script"))(
    "has colours on a terminal, and none there with NO_COLOR (needs script)",
    async () => {
      const onTerminal = async (env: Record<string, string>): Promise<string> => {
        const command = `'${reachableBinary()}' doctor ${UPSTREAM}`;
        const args = ["--quiet", "--command", command, "/dev/null"];
        return (await runProgram({ binary: "script", args, env: { TERM: "xterm", ...env } })).stdout;
      };
      expect(await onTerminal({})).toContain("  \x1b[32m✓\x1b[39m landlock ");
      const plain = await onTerminal({ NO_COLOR: "1" });
      expect(plain).toContain("  ✓ landlock ");
      expect(plain).not.toContain("\x1b");
    },
  );

  test("has no control character of the environment's, and says which it was", async () => {
    const path = "/nowhere/\x1b[31m\u202e\n  ✓ forged";
    const env = { NODE_EXTRA_CA_CERTS: path };
    const { stdout } = await runProgram({ args: ["doctor", UPSTREAM], env });
    expect(inOneLine(stdout)).toContain("NODE_EXTRA_CA_CERTS=/nowhere/\\u001b[31m\\u202e\\u000a ✓ forged");
    const asJson = await runProgram({ args: ["doctor", UPSTREAM, "--json"], env });
    for (const text of [stdout, asJson.stdout])
      // oxlint-disable-next-line no-control-regex -- control characters are what this is about
      expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
    const { checks } = JSON.parse(asJson.stdout) as Report;
    expect(checks.find(({ id }) => id === "environment")!.found).toBe(
      `in force: NODE_EXTRA_CA_CERTS=${path}`,
    );
  });

  test("has no query of the upstream's, which may be a secret", async () => {
    const args = ["doctor", `${UPSTREAM}?code=secret`];
    for (const flags of [[], ["--json"]]) {
      const { stdout, stderr, exitCode } = await runProgram({ args: [...args, ...flags] });
      expect(exitCode).toBe(0);
      expect(stdout).toContain(upstream.url);
      expect(stdout + stderr).not.toContain("secret");
    }
  });
});

describe("what is left as it was", () => {
  test("standard input", async () => {
    const launcher = ["sh", "-c", '"$0" "$@" >/dev/null; cat'];
    const { stdout } = await runProgram({ launcher, args: ["doctor", UPSTREAM], input: CANARY_KEY });
    expect(stdout).toBe(CANARY_KEY);
  });

  test("the server-info file of a proxy, the dump directory, and the key file, with every flag of a start", async () => {
    const directory = temporaryDirectory();
    const [info, dump] = ["info", "dump"].map((name) => join(directory, name));
    const key = join(temporaryDirectory(), "key");
    mkdirSync(dump!, { mode: 0o700 });
    writeFileSync(key!, `${CANARY_KEY}\n`, { mode: 0o600 });
    const proxy = await Proxy.start({ args: [`--server-info=${info}`] });
    const written = readFileSync(info!, "utf8");
    const binary = reachableBinary();
    const flags = [
      ["--port=0", `--server-info=${info}`, `--key-file=${key}`, "--http-shutdown", UPSTREAM],
      ["--insecure-upstream", "--strict", "--shutdown-timeout=1s", "--log-level=debug", "--log-json"],
      [
        `--dump-dir=${dump}`,
        `--client-token=${join(directory, "token")}`,
        `--client-token-group=${process.getgid!()}`,
      ],
      [
        `--socket=${join(directory, "socket")}`,
        "--socket-mode=0660",
        `--socket-group=${process.getgid!()}`,
        "--allow-user=0",
      ],
      ["--max-requests=1", "--max-concurrent=1", "--rate=1/s", "--lifetime=1s"],
      [`--log-file=${join(directory, "log")}`, "--exit-with-parent"],
    ].flat();
    const names = new Set(flags.map((flag) => /^--([a-z-]+)/.exec(flag)![1]!));
    // Root's only, and in the tests above; what refuses the file of a proxy that is running; and those of tokens, which are no key (test/oidc).
    const others = ["user", "help", "version", "background", ...Object.keys(OIDC_FLAGS)];
    expect([...names, ...others].sort()).toEqual(Object.keys(FLAGS).sort());
    const { stdout, stderr, exitCode } = await runProgram({ binary, args: ["doctor", "--json", ...flags] });
    // As a start would say.
    expect(stderr).toContain(
      `'${info}' names a proxy that is running (pid ${proxy.pid}, port ${proxy.port}): a start would replace the file"`,
    );
    expect(stderr).not.toContain("kill");
    const report = JSON.parse(stdout) as Report;
    expect(report).toMatchObject({ starts: true, reachesUpstream: true });
    expect(report.startsStrictly).toBe(isRoot);
    expect(exitCode).toBe(isRoot ? 0 : 1);
    expect(stdout).not.toContain(CANARY_KEY);

    expect(readdirSync(directory).sort()).toEqual(["dump", "info", "log"]);
    expect(readdirSync(dump!)).toEqual([]);
    expect(readFileSync(info!, "utf8")).toBe(written);
    expect(readFileSync(key!, "utf8")).toBe(`${CANARY_KEY}\n`);
    await proxy.stop();
  });

  test("a directory without a server-info file", async () => {
    const directory = temporaryDirectory();
    await doctor({ args: [`--server-info=${join(directory, "info")}`] });
    expect(readdirSync(directory)).toEqual([]);
  });
});
