// `doctor`: what it says of this host is what a start on it comes to, in each of the ways there are to start.

import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { version } from "../../package.json";
import { lacks } from "../harness/needs.ts";
import { BINARY, installedBinary, runProgram, type Start, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, isRoot, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";

const upstream = new RawUpstream();
const UPSTREAM = `--upstream-url=${upstream.url}`;

type Found = { id: string; status: string; found: string; advice: string | null };
type Report = {
  version: string;
  uid: number;
  upstream: string;
  starts: boolean;
  startsStrictly: boolean;
  reachesUpstream: boolean;
  checks: Found[];
};

async function doctor({ args = [], ...start }: Start = {}) {
  const ended = await runProgram({ ...start, args: ["doctor", UPSTREAM, "--json", ...args] });
  expect(ended.stderr).toBe("");
  const report = JSON.parse(ended.stdout) as Report;
  return { ...ended, report, of: (id: string) => report.checks.find((check) => check.id === id) };
}

/** The file as the README recommends to install it. */
function recommended(): string {
  const path = installedBinary(0o711);
  Bun.spawnSync(["setcap", "cap_ipc_lock=ep", path]);
  return path;
}

const LITTLE_MEMLOCK = ["prlimit", "--memlock=65536:65536"];

type Way = {
  binary: () => string;
  launcher?: string[];
  user?: string[];
  uid: number;
  /** What is not well, by id. */
  warnings: string[];
  holdsStrictly: boolean;
};

const YAMA = Bun.spawnSync(["cat", "/proc/sys/kernel/yama/ptrace_scope"]).stdout.toString().trim() || "0";
const OPEN = YAMA === "0" ? ["file-readable", "yama"] : ["file-readable"];

const AS_ROOT: [name: string, way: Way][] = [
  ["root", { binary: () => reachableBinary(), uid: 0, warnings: ["user"], holdsStrictly: true }],
  [
    "root with --user",
    {
      binary: () => reachableBinary(),
      user: [`--user=${ALICE}`],
      uid: ALICE,
      warnings: [],
      holdsStrictly: true,
    },
  ],
];

const AS_RECOMMENDED: [name: string, way: Way][] = [
  [
    "an ordinary user, as recommended",
    { binary: recommended, launcher: as(ORDINARY), uid: ORDINARY, warnings: [], holdsStrictly: true },
  ],
];

const AS_ORDINARY: [name: string, way: Way][] = [
  [
    "an ordinary user, from a file it can read",
    {
      binary: () => reachableBinary(),
      launcher: as(ORDINARY),
      uid: ORDINARY,
      warnings: [...OPEN, "memory-lock"],
      holdsStrictly: false,
    },
  ],
  [
    "an ordinary user, from a file it cannot read",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: as(ORDINARY),
      uid: ORDINARY,
      warnings: ["memory-lock"],
      holdsStrictly: false,
    },
  ],
  [
    "an ordinary user with 64 KiB of locked memory",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: [...LITTLE_MEMLOCK, ...as(ORDINARY)],
      uid: ORDINARY,
      warnings: ["memory-lock"],
      holdsStrictly: false,
    },
  ],
  [
    "an ordinary user without any locked memory",
    {
      binary: () => reachableBinary(UNREADABLE),
      launcher: ["prlimit", "--memlock=0:0", ...as(ORDINARY)],
      uid: ORDINARY,
      warnings: ["memory-lock", "key-pages"],
      holdsStrictly: false,
    },
  ],
];

/** What doctor may say besides of the user who runs the tests: the file is that user's, who may be in groups such as docker. */
const OF_THE_TESTER = isRoot ? [] : ["file-owner", "file-writable", "become-root"];

describe("it says what a start with --strict comes to, started by", () => {
  async function expectTruth(_name: string, way: Way): Promise<void> {
    const { launcher = [], user = [], uid, warnings, holdsStrictly } = way;
    const binary = way.binary();
    const { exitCode, report, of } = await doctor({ binary, launcher, args: user });
    expect(exitCode).toBe(0);
    const { checks, ...conclusion } = report;
    expect(conclusion).toEqual({
      version,
      uid,
      upstream: upstream.url,
      starts: true,
      startsStrictly: holdsStrictly,
      reachesUpstream: true,
    });
    const found = checks.filter(({ status }) => status !== "ok").map(({ id }) => id);
    expect(found.filter((id) => !OF_THE_TESTER.includes(id))).toEqual(warnings);
    for (const { status, advice } of checks) expect(advice === null).toBe(status === "ok");
    expect(of("memory-lock")!.found).toMatch(
      warnings.includes("memory-lock") ? /^no \(mlockall: (ENOMEM|EPERM)\): / : /^yes, by CAP_IPC_LOCK$/,
    );
    // Without a key it ends once everything holds (1), or because something does not (11, 9).
    const started = await runProgram({ binary, launcher, args: ["--strict", UPSTREAM, ...user] });
    expect([9, 11].includes(started.exitCode!)).toBe(!holdsStrictly);
    expect([1, 9, 11]).toContain(started.exitCode!);
  }

  test.each(AS_ORDINARY)("%s", expectTruth);
  test.skipIf(lacks("root")).each(AS_ROOT)("%s (needs root)", expectTruth);
  test.skipIf(lacks("root", "setcap")).each(AS_RECOMMENDED)("%s (needs root, setcap)", expectTruth);
});

describe("of the user, the file and the limits", () => {
  // Where every user can reach it.
  const binary = reachableBinary();

  test("a limit is named as it is, and so is what is needed", async () => {
    const { of } = await doctor({ binary, launcher: [...LITTLE_MEMLOCK, ...as(ORDINARY)] });
    expect(of("memory-lock")!.found).toMatch(/RLIMIT_MEMLOCK is 64 KiB, \d+(\.\d)? GiB are needed/);
  });

  const PLENTY = ["prlimit", `--memlock=${2 ** 40}:${2 ** 40}`];
  test.skipIf(lacks("root", "CAP_SYS_RESOURCE"))(
    "a limit that is enough, and by far, is one to rely on (needs root, CAP_SYS_RESOURCE)",
    async () => {
      const { of } = await doctor({ binary, launcher: [...PLENTY, ...as(ALICE)] });
      expect(of("memory-lock")!.status).toBe("ok");
      expect(of("memory-lock")!.found).toMatch(/^yes: RLIMIT_MEMLOCK is 1 TiB, \d+(\.\d)? GiB are needed$/);
    },
  );

  test("a user who may write the file", async () => {
    const owned = installedBinary(0o755);
    chownSync(owned, ORDINARY, process.getgid!());
    const { of } = await doctor({ binary: owned, launcher: as(ORDINARY) });
    expect(of("file-writable")!.status).toBe("warning");
    expect(of("file-owner")).toMatchObject({ status: "warning" });
    expect(of("file-owner")!.found).toContain(` is user ${ORDINARY}'s`);
  });

  test.skipIf(lacks("root"))("a directory of root's that others may write in (needs root)", async () => {
    const open = installedBinary(0o755);
    chmodSync(join(open, ".."), 0o775);
    expect((await doctor({ binary: open })).of("file-owner")!.found).toEndWith(`has mode 0775`);
  });

  test.skipIf(lacks("root"))(
    "a file that the user of --user cannot execute: it would not start, and does not (needs root)",
    async () => {
      const closed = reachableBinary(0o700);
      const args = [`--user=${ALICE}`];
      const { exitCode, report, of } = await doctor({ binary: closed, args });
      expect({ exitCode, starts: report.starts }).toEqual({ exitCode: 1, starts: false });
      expect(of("file-executable")!.status).toBe("fatal");
      const { exitCode: startExitCode, stderr } = await runProgram({
        binary: closed,
        args: [...args, UPSTREAM],
      });
      expect(startExitCode).toBe(3);
      expect(stderr).toContain(`hint: ${of("file-executable")!.advice}\n`);
    },
  );

  test.skipIf(lacks("root"))(
    "root that may not become another: it would not start, and does not (needs root)",
    async () => {
      const launcher = ["setpriv", "--bounding-set=-setuid"];
      const args = [`--user=${ALICE}`];
      const { exitCode, of } = await doctor({ binary, launcher, args });
      expect({ exitCode, status: of("user")!.status }).toEqual({ exitCode: 1, status: "fatal" });
      expect((await runProgram({ binary, launcher, args: [...args, UPSTREAM] })).exitCode).toBe(10);
    },
  );

  async function expectTheSame(launcher: string[], user: string, exitCode: number): Promise<void> {
    const started = await runProgram({ binary, launcher, args: ["--user", user] });
    expect(started.exitCode).toBe(exitCode);
    const asked = await runProgram({ binary, launcher, args: ["doctor", "--user", user] });
    // Each names its own help, if the command line was wrong.
    expect({ ...asked, stderr: asked.stderr.replace(" doctor --help", " --help") }).toEqual(started);
  }
  test("--user without root: as at a start", () => expectTheSame(as(ORDINARY), String(ORDINARY), 10));
  test.skipIf(lacks("root")).each(["nobody-has-this-name", "root"])(
    "--user=%s: as at a start (needs root)",
    (user) => expectTheSame([], user, 2),
  );
});

test.skipIf(lacks("strace"))("under a tracer: it would not start, and does not (needs strace)", async () => {
  const launcher = ["strace", "-f", "-o", "/dev/null"];
  const { exitCode, of } = await doctor({ launcher });
  expect({ exitCode, status: of("tracer")!.status }).toEqual({ exitCode: 1, status: "fatal" });
  expect((await runProgram({ launcher, args: [UPSTREAM] })).exitCode).toBe(4);
});

test("a proxy variable that is no URL: it would not start, and does not", async () => {
  const env = { HTTPS_PROXY: "proxy.example:3128" };
  const { exitCode, report, of } = await doctor({ env });
  expect({ exitCode, starts: report.starts }).toEqual({ exitCode: 1, starts: false });
  expect(of("proxy")).toMatchObject({ status: "fatal", found: "HTTPS_PROXY is no URL" });
  expect((await runProgram({ env, args: [UPSTREAM] })).exitCode).toBe(1);
});

// A mount namespace of its own, in which files of the kernel's say what a test wants them to.
const cannotMount = lacks("root", "mount namespaces");

/** The beginning of a command line for which these files have this content. */
function where(files: Record<string, string>, prepare = "true"): string[] {
  const directory = temporaryDirectory();
  const mounts = Object.entries(files).map(([path, text], index) => {
    writeFileSync(join(directory, String(index)), text, { mode: 0o644 });
    return `mount --bind ${join(directory, String(index))} ${path}`;
  });
  return ["unshare", "--mount", "sh", "-ec", [...mounts, prepare, 'exec "$0" "$@"'].join("\n")];
}

describe.skipIf(cannotMount)("on a host (needs root, mount namespaces)", () => {
  // Where every user can reach it.
  const binary = reachableBinary();

  const SWAPS = "Filename\tType\tSize\tUsed\tPriority\n";

  test("with swap: plain, on zram, on dm-crypt, on LVM on dm-crypt", async () => {
    const directory = temporaryDirectory();
    const [plain, crypt, lvm, bareLvm] = ["sda2", "dm-7", "dm-8", "dm-9"].map((name) =>
      join(directory, name),
    );
    // 253:7 is dm-crypt's, 253:8 lies on it, and 253:9 on a plain disk.
    const prepare = `mknod ${plain} b 8 2; mknod ${crypt} b 253 7; mknod ${lvm} b 253 8; mknod ${bareLvm} b 253 9
      mount -t tmpfs none /sys/dev/block
      cd /sys/dev/block; mkdir -p 8:2 253:9/dm 253:9/slaves/sda2 253:7/dm 253:8/dm 253:8/slaves/dm-7/dm
      echo CRYPT-LUKS2-0123-swap >253:7/dm/uuid; echo LVM-0123 >253:8/dm/uuid; echo LVM-0124 >253:9/dm/uuid
      cp 253:7/dm/uuid 253:8/slaves/dm-7/dm/uuid; cd /`;
    const swapsAre = (...paths: string[]): string[] => {
      const lines = paths.map((path) => `${path} partition 8388604 0 -2\n`).join("");
      return [
        ...where({ "/proc/swaps": SWAPS + lines }, `rm -f ${plain} ${crypt} ${lvm} ${bareLvm}; ${prepare}`),
      ];
    };
    const found = async (launcher: string[]) => {
      const { status, found: text } = (await doctor({ binary, launcher })).of("swap")!;
      return [status, text.replaceAll(`${directory}/`, "")];
    };
    const safe = [crypt!, "/dev/zram0", lvm!];
    const text = "dm-7 is encrypted, /dev/zram0 is memory (zram), dm-8 is encrypted";
    expect(await found([...swapsAre(...safe), ...as(ALICE)])).toEqual(["ok", text]);
    expect(await found([...swapsAre(plain!), ...as(ALICE)])).toEqual(["warning", "sda2 is not encrypted"]);
    expect(await found([...swapsAre(bareLvm!), ...as(ALICE)])).toEqual(["warning", "dm-9 is not encrypted"]);
    // As root memory is locked, and is kept from swap.
    expect(await found(swapsAre(plain!))).toEqual([
      "ok",
      "sda2 is not encrypted; locked memory goes there in hibernation only",
    ]);
    expect(await found([...where({ "/proc/swaps": SWAPS }), ...as(ALICE)])).toEqual(["ok", "none"]);
  });

  test("with a core_pattern that is a program: it is named, control characters escaped", async () => {
    const launcher = where({ "/proc/sys/kernel/core_pattern": "|/bin/x \x1b[31m %P\n" });
    const { stdout } = await runProgram({ launcher, args: ["doctor", UPSTREAM] });
    expect(stdout).toContain("|/bin/x \\u001b[31m %P");
  });

  test("where no copy in memory can be executed: a start from a readable file is open", async () => {
    const noDisk = "mount -t tmpfs -o noexec none /var/tmp";
    const launcher = where({ "/proc/sys/vm/memfd_noexec": "2\n" }, noDisk);
    const readable = await doctor({ binary, launcher: [...launcher, ...as(ALICE)] });
    expect(readable.of("memfd-noexec")!.status).toBe("warning");
    const closed = reachableBinary(0o711);
    const unreadable = await doctor({ binary: closed, launcher: [...launcher, ...as(ALICE)] });
    expect(unreadable.of("memfd-noexec")!.status).toBe("ok");
    const byRoot = await doctor({ binary, launcher, args: [`--user=${ALICE}`] });
    expect({ ...byRoot.of("memfd-noexec"), strict: byRoot.report.startsStrictly }).toMatchObject({
      status: "warning",
      strict: false,
    });
  });

  test("whose user is in a group that is as good as root", async () => {
    const launcher = where({
      "/etc/passwd": `root:x:0:0::/:/bin/sh\nalice:x:${ALICE}:${ALICE}::/:/bin/sh\n`,
      "/etc/group": `root:x:0:\naudio:x:29:alice\nsudo:x:27:bob\ndocker:x:999:bob,alice\nwheel:x:10:\n`,
    });
    const member = {
      status: "warning",
      found: "member of docker: may become root, who reads every key",
    };
    const byAlice = await doctor({ binary, launcher: [...launcher, ...as(ALICE)] });
    expect(byAlice.of("become-root")).toMatchObject(member);
    const forAlice = await doctor({ binary, launcher, args: ["--user=alice"] });
    expect(forAlice.of("become-root")).toMatchObject(member);
    const here = await doctor({
      binary,
      launcher: [...launcher, "setpriv", `--reuid=${ALICE}`, "--groups=10"],
    });
    expect(here.of("become-root")!.found).toStartWith("member of docker, wheel: ");
    const bare = where({
      "/etc/passwd": "root:x:0:0::/:/bin/sh\n",
      "/etc/group": `docker:x:999:bob\nalice:x:${ALICE}:\n`,
    });
    const alone = await doctor({ binary, launcher: [...bare, ...as(ALICE)] });
    expect(alone.of("become-root")!.status).toBe("ok");
  });
});

describe("what is shown", () => {
  test("has a mark and a label in each line, what to do under it, and 80 columns, without colours in a pipe", async () => {
    const env = { FORCE_COLOR: "1", NODE_EXTRA_CA_CERTS: BINARY };
    const { stdout, exitCode } = await runProgram({ args: ["doctor", UPSTREAM], env });
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain("\x1b");
    expect(stdout).toContain(
      `\n  ! authorities    NODE_EXTRA_CA_CERTS=${BINARY}\n                   → decides who`,
    );
    expect(stdout).toContain("\nKernel\n  ✓ version        Linux ");
    const lines = stdout.split("\n");
    expect(lines.length).toBeGreaterThan(30);
    for (const line of lines) expect(line.length <= 80 || line.includes(BINARY) ? "" : line).toBe("");
  });

  test.skipIf(lacks("script"))(
    "has colours on a terminal, and none there with NO_COLOR (needs script)",
    async () => {
      const onTerminal = async (env: Record<string, string>): Promise<string> => {
        const command = `'${BINARY}' doctor ${UPSTREAM}`;
        const args = ["--quiet", "--command", command, "/dev/null"];
        return (await runProgram({ binary: "script", args, env: { TERM: "xterm", ...env } })).stdout;
      };
      expect(await onTerminal({})).toContain("\x1b[32m✓\x1b[39m version");
      const plain = await onTerminal({ NO_COLOR: "1" });
      expect(plain).toContain("✓ version");
      expect(plain).not.toContain("\x1b");
    },
  );

  test("leaves standard input alone", async () => {
    const launcher = ["sh", "-c", '"$0" "$@" >/dev/null; cat'];
    const { stdout } = await runProgram({ launcher, args: ["doctor", UPSTREAM], input: "sk-for-another" });
    expect(stdout).toBe("sk-for-another");
  });

  test("has no query of the upstream's, which may be a secret", async () => {
    const args = ["doctor", `${UPSTREAM}?code=secret`];
    for (const flags of [[], ["--json"]])
      expect((await runProgram({ args: [...args, ...flags] })).stdout).not.toContain("secret");
  });
});
