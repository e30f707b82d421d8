// The proxy of `run` and --background takes its two starts in one process: it is as closed as one that starts by itself, in every thread. COMMAND is
// not restricted at all.

import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import {
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  isAlive,
  runProgram,
  SETTINGS,
  temporaryDirectory,
} from "../harness/program.ts";
import { linesOf, NO_TERMINAL, processesOf, runScript } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, isRoot, ORDINARY, reachableBinary, runAs, UNREADABLE } from "../harness/users.ts";

const { url } = new RawUpstream();

/** Not CapAmb: what an execve would keep, which the filter forbids. */
const OF_STATUS =
  /^(?:Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap(?:Inh|Prm|Eff|Bnd)|SigIgn|THP_enabled|CoreDumping):.*$/gm;

/** What the kernel shows of a process to anybody. */
function stateOf(pid: number): Record<string, unknown> {
  const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, "utf8");
  return { status: read("status").match(OF_STATUS), limits: read("limits"), oom: read("oom_score_adj") };
}

/** What it shows to root as well. What tells the proxy how it was started is left out. */
function privateStateOf(pid: number): Record<string, unknown> {
  const variables = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  return {
    environment: variables
      .filter((one) => !/^RESPONSES_API_PROXY_(STARTER|PARENT|STAGE)=/.test(one))
      .map(withoutNumbers)
      .sort(),
    directory: readlinkSync(`/proc/${pid}/cwd`),
    root: readlinkSync(`/proc/${pid}/root`),
    file: withoutNumbers(readlinkSync(`/proc/${pid}/exe`)),
    // Of those that are not the three standard ones.
    descriptors: uniqueSorted(
      readdirSync(`/proc/${pid}/fd`)
        .filter((fd) => Number(fd) > 2)
        .map((fd) => withoutNumbers(targetOf(`/proc/${pid}/fd/${fd}`))),
    ),
  };
}

/** Nothing if it has been closed meanwhile. */
function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}

/** Without what differs from start to start. */
function withoutNumbers(text: string): string {
  return text.replace(/\d+|-test-\w+/g, "N");
}

function uniqueSorted(targets: readonly string[]): string[] {
  // run reads the proxy's standard error from a pipe.
  return [...new Set(targets)].filter((target) => target !== "pipe:[N]" && target !== "").sort();
}

/** What a proxy's last execve was for. */
function stageOf(pid: number): string | undefined {
  return /RESPONSES_API_PROXY_STAGE=(\w+)/.exec(readFileSync(`/proc/${pid}/environ`, "utf8"))?.[1];
}

type How = { launcher?: readonly string[]; binary: string; args?: readonly string[]; isRoots?: boolean };

/** Starts a proxy, looks at it, and ends it. `stage` is what its last execve was for, if root looks. */
async function lookAt(
  words: readonly string[],
  command: readonly string[],
  how: How,
): Promise<{ proxy: unknown; stage: string | undefined }> {
  const { launcher = [], binary, args = [], isRoots = false } = how;
  const directory = temporaryDirectory();
  // The place is the same text in each start.
  const child = Bun.spawn(
    [...launcher, binary, ...words, `--upstream-url=${url}`, "--server-info=i", "--log-file=l", "--log-json"]
      .concat(args)
      .concat(command),
    {
      stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
      env: { ...BARE_ENVIRONMENT, OPENAI_API_KEY: CANARY_KEY, SSL_CERT_DIR: ".", LANG: "C.UTF-8" },
      cwd: isRoots ? directory : owned(directory),
    },
  );
  const info = join(directory, "i");
  await until(() => existsSync(info), "the proxy to accept connections");
  const { pid } = JSON.parse(readFileSync(info, "utf8")) as { pid: number };
  try {
    await until(() => readFileSync(join(directory, "l"), "utf8").includes('"protections"'), "its log");
    const log = readFileSync(join(directory, "l"), "utf8").split("\n");
    const { held } = JSON.parse(log.find((line) => line.includes('"event":"protections"'))!);
    const proxy = { ...stateOf(pid), ...(isRoot ? privateStateOf(pid) : {}), held };
    return { proxy, stage: isRoot ? stageOf(pid) : undefined };
  } finally {
    if (isAlive(pid)) process.kill(pid, "SIGTERM");
    child.kill("SIGTERM");
    await child.exited;
    await until(() => processesOf(url).length === 0, "every process to end");
  }
}

/** The directory, as the ordinary user's. */
function owned(directory: string): string {
  if (isRoot) Bun.spawnSync(["chown", String(ALICE), directory]);
  return directory;
}

/** A copy of the program with the file capability. */
function withCapability(mode: number): string {
  const directory = temporaryDirectory();
  chmodSync(directory, 0o755);
  const copy = join(directory, "responses-api-proxy");
  copyFileSync(BINARY, copy);
  chmodSync(copy, mode);
  expect(Bun.spawnSync(["setcap", "cap_ipc_lock=ep", copy]).exitCode).toBe(0);
  return copy;
}

describe("the proxy is as closed as one that starts by itself", () => {
  const HOW: [who: string, needs: "root" | "setcap" | undefined, how: () => How][] = [
    [
      "an ordinary user's, from a file that it cannot read",
      undefined,
      () => ({ launcher: as(ORDINARY), binary: reachableBinary(UNREADABLE) }),
    ],
    [
      "an ordinary user's, from a file that it can read",
      undefined,
      () => ({ launcher: as(ORDINARY), binary: reachableBinary() }),
    ],
    [
      "an ordinary user's, from a file with cap_ipc_lock that it can read (needs root, setcap)",
      "setcap",
      () => ({ launcher: as(ORDINARY), binary: withCapability(0o755) }),
    ],
    [
      "an ordinary user's, from a file with cap_ipc_lock that it cannot read (needs root, setcap)",
      "setcap",
      () => ({ launcher: as(ORDINARY), binary: withCapability(UNREADABLE) }),
    ],
    [
      "an ordinary user's, with a umask that shuts others out",
      undefined,
      () => ({
        launcher: ["sh", "-c", 'umask 077; exec "$0" "$@"', ...as(ORDINARY)],
        binary: reachableBinary(UNREADABLE),
      }),
    ],
    [
      "an ordinary user's, with more of the caller's open",
      undefined,
      () => ({
        launcher: ["bash", "-c", 'exec 9</etc/hostname 12<&0; exec "$0" "$@"', ...as(ORDINARY)],
        binary: reachableBinary(UNREADABLE),
      }),
    ],
    ["root's (needs root)", "root", () => ({ binary: reachableBinary(0o711), isRoots: true })],
    [
      "root's, with --user (needs root)",
      "root",
      () => ({ binary: reachableBinary(0o711), args: [`--user=${ALICE}`] }),
    ],
  ];
  for (const [who, needs, how] of HOW)
    test.skipIf(needs !== undefined && lacks("root", ...(needs === "setcap" ? (["setcap"] as const) : [])))(
      who,
      async () => {
        const { proxy } = await lookAt([], [], how());
        expect(JSON.stringify(proxy)).toContain("seccomp");
        // The second start is a process that was never root's, or runs from a copy that has no capability of its own.
        const stage = !isRoot
          ? undefined
          : /--user|cap_ipc_lock that it can read/.test(who)
            ? "reexec"
            : "prepared";
        expect(await lookAt(["--background"], [], how())).toEqual({ proxy, stage });
        expect(await lookAt(["run"], ["--", "sleep", "60"], how())).toEqual({ proxy, stage });
      },
    );
});

/** Blocks three signals, and sends two of them to itself. */
const BLOCKED = [
  "perl",
  "-MPOSIX",
  "-e",
  "sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR2, SIGTERM, SIGHUP)); kill 'USR2', $$; kill 'TERM', $$; exec @ARGV",
];
/** PR_GET_PDEATHSIG, prctl(2): the process's own, not a child's. */
const SIGNAL_AT_PARENTS_END = `exec perl -e '$n = pack("i", 0); syscall(${process.arch === "arm64" ? 167 : 157}, 2, $n, 0, 0, 0); print "at the end ", unpack("i", $n), "\\n"'`;

describe("COMMAND is not restricted", () => {
  const SCRIPT = `grep -E '^(Umask|NoNewPrivs|Seccomp|Cap|SigBlk|ShdPnd|SigPnd|Groups)' /proc/self/status; cat /proc/self/limits; kill -0 1 2>&1; echo >"$PLACE/written" && cat "$PLACE/written" && rm "$PLACE/written"; (exec 3<>/dev/tcp/127.0.0.1/9) 2>&1 | grep -c refused; ${SIGNAL_AT_PARENTS_END}`;
  const WHO: [who: string, launcher: string[]][] = [
    ["an ordinary user's", as(ORDINARY)],
    ["one with another umask", ["sh", "-c", 'umask 027; exec "$0" "$@"']],
    ["one with a lower limit on open files", ["sh", "-c", 'ulimit -Sn 256; "$0" "$@"; exit $?']],
    ["one with signals that are blocked, two of which have come", BLOCKED],
    ["one that wants a signal when its parent ends", ["setpriv", "--pdeathsig", "TERM"]],
    ...(isRoot
      ? ([["root's, with few capabilities", ["setpriv", "--bounding-set=-sys_admin"]]] as [
          string,
          string[],
        ][])
      : []),
  ];
  test.each(WHO)("%s", async (_who, launcher) => {
    const place = owned(temporaryDirectory());
    const env = { ...BARE_ENVIRONMENT, PLACE: place };
    const start = [...NO_TERMINAL, ...launcher];
    const direct = Bun.spawnSync([...start, "bash", "-c", SCRIPT], {
      stdin: "ignore",
      env,
    }).stdout.toString();
    const { stdout } = await runScript(url, `exec bash -c ${quoted(SCRIPT)}`, {
      launcher: start,
      binary: reachableBinary(UNREADABLE),
      env,
    });
    expect(direct.split("\n").length).toBeGreaterThan(25);
    expect(stdout).toBe(direct);
  });
});

test.skipIf(lacks("root"))(
  "the processes beside COMMAND keep no directory of the caller's in use (needs root)",
  async () => {
    const child = Bun.spawn([BINARY, "run", `--upstream-url=${url}?beside`, "--", "sleep", "60"], {
      stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
      env: BARE_ENVIRONMENT,
      cwd: temporaryDirectory(),
    });
    try {
      await until(() => readFileSync(`/proc/${child.pid}/comm`, "utf8") === "sleep\n", "COMMAND to start");
      const beside = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ");
      const directories = beside.map((pid) => readlinkSync(`/proc/${pid}/cwd`));
      expect(directories).toEqual(["/", "/"]);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(`${url}?beside`).length === 0, "every process to end");
    }
  },
);

test("a proxy variable that is not used is told once, although the proxy does not get it", async () => {
  const { stderr } = await runProgram({
    launcher: NO_TERMINAL,
    args: ["run", "--upstream-url=https://upstream.test/v1/responses", "--", "true"],
    env: { ...BARE_ENVIRONMENT, ALL_PROXY: "http://127.0.0.1:1" },
    input: CANARY_KEY,
  });
  expect(linesOf(stderr).filter((line) => line.includes("not used: ALL_PROXY")).length).toBe(1);
});

test("from source: COMMAND is not restricted, and its exit code is passed on", async () => {
  const source = ["--config=/dev/null", "--no-env-file", join(process.cwd(), "src/main.ts")];
  const { exitCode, stdout } = await runProgram({
    launcher: NO_TERMINAL,
    binary: process.execPath,
    args: [
      ...source,
      "run",
      `--upstream-url=${url}`,
      "--",
      "sh",
      "-c",
      "grep NoNew /proc/self/status; exit 7",
    ],
    input: CANARY_KEY,
  });
  expect({ exitCode, stdout }).toEqual({ exitCode: 7, stdout: "NoNewPrivs:\t0\n" });
});

test.skipIf(lacks("root"))(
  "from source, where the runtime has threads from the start: every thread of the proxy is restricted (needs root)",
  async () => {
    const source = ["--config=/dev/null", "--no-env-file", join(process.cwd(), "src/main.ts")];
    const words = ["run", `--upstream-url=${url}?source`, "--", "sleep", "60"];
    const child = Bun.spawn([process.execPath, ...source, ...words], {
      stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
      env: BARE_ENVIRONMENT,
    });
    try {
      await until(() => readFileSync(`/proc/${child.pid}/comm`, "utf8") === "sleep\n", "COMMAND to start");
      const proxy = processesOf(`${url}?source`)
        .map((line) => parseInt(line))
        .find(isProxy)!;
      const states = readdirSync(`/proc/${proxy}/task`).map((task) =>
        readFileSync(`/proc/${proxy}/task/${task}/status`, "utf8")
          .match(/^(?:NoNewPrivs|Seccomp|Cap\w+):.*$/gm)!
          .join(),
      );
      expect(states.length).toBeGreaterThan(2);
      expect(new Set(states).size).toBe(1);
      expect(states[0]).toContain("NoNewPrivs:\t1");
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(`${url}?source`).length === 0, "every process to end");
    }
  },
);

test.skipIf(lacks("root"))(
  "the mark of a prepared start, set by hand: the program is executed again all the same (needs root)",
  async () => {
    const directory = owned(temporaryDirectory());
    const child = Bun.spawn(
      // Not through a shell, which adds variables.
      [
        "setpriv",
        `--reuid=${ALICE}`,
        `--regid=${ALICE}`,
        "--clear-groups",
        reachableBinary(UNREADABLE),
      ].concat(`--upstream-url=${url}`, `--server-info=${directory}/i`),
      {
        stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
        env: { PATH: BARE_ENVIRONMENT.PATH!, ...SETTINGS, RESPONSES_API_PROXY_STAGE: "prepared" },
      },
    );
    try {
      await until(() => existsSync(`${directory}/i`), "the proxy to accept connections");
      expect(stageOf(child.pid)).toBe("reexec");
    } finally {
      child.kill("SIGTERM");
      await child.exited;
    }
  },
);

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function isProxy(pid: number): boolean {
  return readFileSync(`/proc/${pid}/comm`, "utf8") === "responses-proxy\n";
}

/** Resolves once the proxy for that upstream waits for its key. */
function untilKeyIsAwaited(upstream: string): Promise<unknown> {
  return until(
    () => processesOf(upstream).some((line) => isProxy(parseInt(line))),
    "the proxy to be started",
  );
}

describe.skipIf(lacks("root"))("while the proxy starts (needs root)", () => {
  test.each<string[]>([["--background"], ["run", "--", "true"]])(
    "a kernel before 5.11: %s says so, as a start does, and starts nothing",
    async (...words) => {
      const { exitCode, stdout, stderr } = await runProgram({
        launcher: onKernel({ close_range: "ENOSYS" }),
        args: words,
        input: CANARY_KEY,
      });
      expect({ exitCode, stdout, lines: linesOf(stderr) }).toEqual({
        exitCode: 3,
        stdout: "",
        lines: [
          "error: cannot start again with a clean environment (close_range: ENOSYS)",
          "hint: Linux 5.11 or later is required",
        ],
      });
    },
  );

  test("with --user, no thread of run's is that user: it could change run's limits", async () => {
    const child = Bun.spawn(
      [reachableBinary(0o711), "run", `--user=${ALICE}`, `--upstream-url=${url}?user`, "--", "true"],
      { stdio: ["pipe", "ignore", "ignore"], env: BARE_ENVIRONMENT },
    );
    try {
      await untilKeyIsAwaited(`${url}?user`);
      const tasks = readdirSync(`/proc/${child.pid}/task`);
      for (const task of tasks)
        expect(readFileSync(`/proc/${child.pid}/task/${task}/status`, "utf8")).toMatch(/^Uid:\t0\t0\t0\t0$/m);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(`${url}?user`).length === 0, "the proxy to end");
    }
  });

  test("every door of run's is closed to another process of the same user, its standard input's included", async () => {
    const child = Bun.spawn(
      [...as(ALICE), reachableBinary(), "run", `--upstream-url=${url}?doors`, "--", "true"],
      {
        stdio: ["pipe", "ignore", "ignore"],
        env: BARE_ENVIRONMENT,
      },
    );
    try {
      await untilKeyIsAwaited(`${url}?doors`);
      const doors = JSON.parse(await runAs(ALICE, "attacker.ts", String(child.pid), "4096"));
      expect(Object.keys(doors).length).toBeGreaterThan(20);
      for (const [door, result] of Object.entries(doors))
        expect(result, door).toMatch(/^(EACCES|EPERM|ENOENT)$/);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(`${url}?doors`).length === 0, "the proxy to end");
    }
  });

  // If it fails, the proxy ends by itself.
  test.each<string[]>([
    ["--background", "--lifetime=5s"],
    ["run", "--", "echo", "ran"],
  ])(
    "a copy that is executed neither on a disk nor in memory: %s says which call failed, and starts nothing",
    async (...words) => {
      const kernel = { execve: "4th EACCES", execveat: "EACCES" };
      const { exitCode, stdout, stderr } = await runProgram({
        launcher: [...onKernel(kernel), ...as(BOB)],
        binary: reachableBinary(),
        args: words,
        input: CANARY_KEY,
      });
      expect({ exitCode, stdout, line: linesOf(stderr)[0] }).toEqual({
        exitCode: 3,
        stdout: "",
        line: "error: cannot start again with a clean environment (execveat: EACCES)",
      });
    },
  );

  test("a copy on a disk that is not executed is replaced by one in memory", async () => {
    // The first three execute setpriv, sh and the program; the proxy tries it once more, by execveat.
    const launcher = [...onKernel({ execve: "4th EACCES", execveat: "once EACCES" }), ...as(BOB)];
    const words = ["run", `--upstream-url=${url}`, "--", "sleep", "60"];
    const child = Bun.spawn([...launcher, reachableBinary(), ...words], {
      stdio: [Buffer.from(CANARY_KEY), "ignore", "ignore"],
      env: BARE_ENVIRONMENT,
    });
    const images = (): string[] =>
      processesOf(url).map((process) => {
        try {
          return readlinkSync(`/proc/${parseInt(process)}/exe`);
        } catch {
          return "gone";
        }
      });
    try {
      await until(
        () => images().some((image) => image.startsWith("/memfd:responses-api-proxy")),
        "the proxy",
        {
          seen: () => images().join("\n"),
        },
      );
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(url).length === 0, "every process to end");
    }
  });
});
