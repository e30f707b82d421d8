// The sandbox, for each way to start the program: the kernel's view of every thread, and what an attacker inside the
// process can do.

import { beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { landlockAbi } from "../../native/sandbox/landlock.ts";
import { FLAGS } from "../../packaging/build.ts";
import { scanMemory } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { CANARY_KEY, installedBinary, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { as, isRoot, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const CAP_IPC_LOCK = "0000000000004000";
const NO_CAPABILITY = "0000000000000000";

const upstream = new RawUpstream();

/** A file that everyone may execute and only root may read, with the right to lock memory. */
function recommendedInstallation(): string {
  const path = installedBinary(0o711);
  Bun.spawnSync(["setcap", "cap_ipc_lock=ep", path]);
  return path;
}

type Way = { binary: () => string; launcher?: string[]; args?: string[]; capabilities: string };

/** Gives root supplementary groups, which the program must drop. */
const WITH_GROUPS = ["setpriv", "--groups=4,27"];

const AS_ROOT: [name: string, way: Way][] = [
  [
    "as root with --user",
    {
      binary: () => reachableBinary(),
      launcher: WITH_GROUPS,
      args: [`--user=${ORDINARY}`],
      capabilities: CAP_IPC_LOCK,
    },
  ],
  [
    "as root with --user, from an unreadable file",
    { binary: () => reachableBinary(0o711), args: [`--user=${ORDINARY}`], capabilities: CAP_IPC_LOCK },
  ],
];

const AS_RECOMMENDED: [name: string, way: Way][] = [
  [
    "as an ordinary user, as recommended",
    { binary: recommendedInstallation, launcher: as(ORDINARY), capabilities: CAP_IPC_LOCK },
  ],
];

const AS_ORDINARY: [name: string, way: Way][] = [
  [
    "as an ordinary user, from an unreadable file",
    { binary: () => reachableBinary(UNREADABLE), launcher: as(ORDINARY), capabilities: NO_CAPABILITY },
  ],
  [
    "as an ordinary user, from a readable file",
    { binary: () => reachableBinary(), launcher: as(ORDINARY), capabilities: NO_CAPABILITY },
  ],
];

/** Started by root, the program keeps no group; started by an ordinary tester, it keeps the tester's groups. */
const GROUPS = isRoot
  ? ""
  : /^Groups:\t(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]!.trimStart();
const GID = isRoot ? ORDINARY : process.getgid!();

function expectClosed(_name: string, { binary, launcher = [], args = [], capabilities }: Way): void {
  let proxy: Proxy;
  beforeAll(async () => {
    proxy = await Proxy.start({
      binary: binary(),
      launcher,
      args: [...args, `--upstream-url=${upstream.url}`],
    });
    await proxy.waitForLine(/protections: .*\n/);
  });

  test.skipIf(lacks("/proc without hidepid"))(
    "in every thread: that user and no other, no group, no capability but one, seccomp and no_new_privs (needs /proc without hidepid)",
    () => {
      const tasks = readdirSync(`/proc/${proxy.pid}/task`);
      expect(tasks.length).toBeGreaterThan(1);
      for (const task of tasks) {
        const status = readFileSync(`/proc/${proxy.pid}/task/${task}/status`, "utf8");
        const fields = Object.fromEntries(status.split("\n").map((line) => line.split(/:\s*/, 2)));
        expect(fields).toMatchObject({
          Uid: [ORDINARY, ORDINARY, ORDINARY, ORDINARY].join("\t"),
          Gid: [GID, GID, GID, GID].join("\t"),
          Groups: GROUPS,
          CapPrm: capabilities,
          CapEff: capabilities,
          NoNewPrivs: "1",
          Seccomp: "2",
        });
        // Only root can reduce its bounding set; an ordinary user's does not matter, because nothing can add capabilities.
        if (args.length > 0) expect(fields).toMatchObject({ CapBnd: CAP_IPC_LOCK, CapAmb: CAP_IPC_LOCK });
      }
    },
  );

  test("the protections line says so", () => {
    const locked = capabilities === CAP_IPC_LOCK ? "memory locked, " : "";
    expect(proxy.stderr).toContain(
      `protections: not dumpable from exec, ${locked}no core, sandbox landlock(abi `,
    );
    expect(proxy.stderr).toContain(`)+seccomp+mdwe, uid ${ORDINARY}\n`);
  });

  test("it serves, and if memory is locked, so is every copy of the key", async () => {
    for (let count = 0; count < 50; count++) expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    // With the capability, the tests run as root, who can read the memory.
    if (capabilities === CAP_IPC_LOCK) expect(scanMemory(proxy.pid, CANARY_KEY).unlocked).toBe(0);
  });
}

describe.each(AS_ORDINARY)("started %s", expectClosed);
describe.skipIf(lacks("root")).each(AS_ROOT)("started %s (needs root)", expectClosed);
describe.skipIf(lacks("root", "setcap")).each(AS_RECOMMENDED)(
  "started %s (needs root, setcap)",
  expectClosed,
);

test.skipIf(lacks("root"))(
  "started as root without --user it stays root, and says so (needs root)",
  async () => {
    const proxy = await Proxy.start();
    await proxy.waitForLine(/protections: .*, uid 0 \(--user makes it another\)\n/);
    // No capability but CAP_IPC_LOCK, if there was that.
    const status = readFileSync(`/proc/${proxy.pid}/status`, "utf8");
    for (const set of ["CapPrm", "CapEff", "CapInh"])
      expect(Number(`0x${new RegExp(`^${set}:\\t(\\w+)$`, "m").exec(status)![1]}`) & ~0x4000, set).toBe(0);
  },
);

/** What needs a system call that is not on the filter's list, in the order of forbidden.ts. */
const NOT_THERE = [
  "truncate",
  "chmod",
  "spawn",
  "Bun.spawn",
  "kill outside",
  "setuid(0)",
  "a directory there",
  "a symlink there",
  "a link there",
  "a FIFO there",
  "ptrace",
  "unshare",
  "setns",
  "bpf",
  "io_uring_setup",
  "keyctl",
  "munlockall",
  "memfd_create",
  "pidfd_open",
  "pidfd_send_signal",
  "process_vm_readv",
  "perf_event_open",
  "userfaultfd",
  "kcmp",
  "shmget",
  "msgget",
  "semget",
  "setpriority",
  "timer_create",
  "fchmodat",
  "fchownat",
  "setxattr",
  "linkat",
  "symlinkat",
  "mount",
  "seccomp",
];

describe("an attacker who has taken the process over", () => {
  test.each(["--port", "--socket"])("is refused each forbidden thing, on %s", async (flag) => {
    const elsewhere = temporaryDirectory();
    chmodSync(elsewhere, 0o777);
    // A process of the same user, so that only the sandbox keeps signals from it.
    const victim = Bun.spawn([...as(ORDINARY), "sleep", "60"], { terminal: {} });
    const terminal = readlinkSync(`/proc/${victim.pid}/fd/0`);
    if (isRoot) chownSync(terminal, ORDINARY, ORDINARY);
    const other = new RawUpstream();
    const binary = join(temporaryDirectory(), "hooked");
    const changed = join(temporaryDirectory(), "changed");
    writeFileSync(changed, "content");
    chownSync(changed, ORDINARY, process.getgid!());
    const writable = temporaryDirectory();
    const made = join(writable, "made");
    const [info, socket] = [join(made, "info.json"), join(made, "proxy.sock")];
    const hook = {
      FORBIDDEN_FILE: `"${elsewhere}/file"`,
      CHANGED_FILE: `"${changed}"`,
      WRITABLE_FILE: `"${made}/other"`,
      OTHER_PORT: other.port,
      UPSTREAM_PORT: upstream.port,
      OTHER_PID: victim.pid,
      TERMINAL: `"${terminal}"`,
    };
    const defines = Object.entries(hook).map(([name, value]) => `--define=${name}=${value}`);
    const build = [process.execPath, "build", "test/harness/forbidden.ts", ...FLAGS, ...defines];
    const { exitCode } = Bun.spawnSync([...build, `--outfile=${binary}`]);
    expect(exitCode).toBe(0);
    chmodSync(binary, UNREADABLE);
    chownSync(writable, ORDINARY, GID);
    const user = isRoot ? [`--user=${ORDINARY}`] : [];
    const isOnPort = flag === "--port";
    const listens = isOnPort ? "--port=0" : `--socket=${socket}`;
    const proxy = await Proxy.start({
      binary,
      args: [...user, listens, "--server-info", info, `--upstream-url=${upstream.url}`],
    });
    await proxy.waitForLine(/protections: .*sandbox .*\n/);
    const names = readdirSync(made);
    proxy.signal("SIGUSR2");
    const results = JSON.parse(await proxy.firstOutputLine()) as Record<string, string>;
    expect(victim.exitCode).toBeNull();
    victim.kill("SIGKILL");
    // Landlock refuses with EACCES or EPERM. The filter refuses with EPERM if arguments decide, else with ENOSYS.
    const by = (reason: string): string[] => Object.keys(results).filter((deed) => results[deed] === reason);
    const abi = landlockAbi();
    expect(by("EACCES")).toEqual([
      "write, sync",
      "write, async",
      "write, Bun.write",
      "make a file",
      "append to a file",
      "write to a file that is there",
      ...(abi >= 4 ? ["connect elsewhere", "bind elsewhere"] : []),
      "read another's environment",
      "write to another terminal",
    ]);
    expect(by("EPERM")).toEqual([
      "open(O_TRUNC)",
      ...(abi >= 6 ? ["signal another's thread"] : []),
      "limit another process",
      "a Unix socket",
      "a socket there, Bun.serve",
      "a netlink socket",
      "a SEQPACKET socket",
      "a VSOCK socket",
      "type into the terminal",
      "have a descriptor signal",
      "dumpable again",
    ]);
    expect(by("OK")).toEqual([
      ...(abi < 4 ? ["connect elsewhere", "bind elsewhere"] : []),
      ...(abi < 6 ? ["signal another's thread"] : []),
      "a file there",
      "read a file of the user's",
      "read from another terminal",
      "receive datagrams",
      "a datagram to another port",
      "listen on a port of the kernel's choice",
      "execute what it wrote",
    ]);
    expect(by("ENOSYS")).toEqual(NOT_THERE);
    const OTHERS = ["a socket there", "the upstream's port at another address"];
    const ANSWERS = ["EACCES", "EPERM", "OK", "ENOSYS"];
    expect(Object.keys(results).filter((deed) => !ANSWERS.includes(results[deed]!))).toEqual(OTHERS);
    // Bun 1.4.5 gives no code.
    expect(results["a socket there"]).toStartWith("Error: Failed to listen at ");
    expect(results["the upstream's port at another address"]).toBe("ECONNREFUSED");
    // Not even an empty file was made.
    expect(readdirSync(elsewhere)).toEqual([]);
    expect(readFileSync(changed, "utf8")).toBe("content");
    expect(statSync(changed).mode & 0o777).toBe(0o644);
    // The program still serves, and its server-info file is right.
    expect((await roundTrip(isOnPort ? proxy.port : socket, REQUEST)).status).toBe(200);
    const { pid, port } = proxy;
    expect(JSON.parse(readFileSync(info, "utf8"))).toEqual(isOnPort ? { port, pid } : { socket, pid });
    rmSync(join(made, "other.file"));
    expect(readdirSync(made)).toEqual(names);
    await proxy.stop();
    expect(readdirSync(made)).toEqual([]);
  });
});

describe("--strict and --user", () => {
  test("--strict: a warning becomes an error with its own exit code", async () => {
    const start = { binary: reachableBinary(UNREADABLE), launcher: as(ORDINARY), input: "" };
    const { exitCode, stderr } = await runProgram({ ...start, args: ["--strict"] });
    expect(exitCode).toBe(11);
    expect(stderr).toMatch(/^responses-api-proxy: error: memory is not locked/m);
  });

  test("--strict: a readable file, whose first start was open for a moment, is an error", async () => {
    const launcher = as(ORDINARY);
    const { exitCode, stderr } = await runProgram({
      binary: reachableBinary(),
      launcher,
      input: "",
      args: ["--strict"],
    });
    expect(exitCode).toBe(11);
    expect(stderr).toStartWith(
      "responses-api-proxy: error: during the start, other processes of this user could have taken over the pipe",
    );
  });

  test.skipIf(lacks("root"))("--strict: with everything in place it starts (needs root)", async () => {
    const proxy = await Proxy.start({
      args: ["--strict", `--user=${ORDINARY}`],
      binary: reachableBinary(0o711),
    });
    await proxy.waitForLine(/protections: not dumpable from exec, memory locked/);
  });

  const REFUSED: [args: string[], launcher: string[], exitCode: number, message: string][] = [
    [["--user=root"], [], 2, "--user must not be root"],
    [["--user=0"], [], 2, "--user must not be root"],
    [
      ["--user=nobody-of-that-name"],
      [],
      2,
      "--user 'nobody-of-that-name' is no user, or its number is a group's",
    ],
    [["--user=27"], [], 2, "--user '27' is no user, or its number is a group's"],
    [[`--user=${ORDINARY}`], as(ORDINARY), 10, "--user requires root"],
  ];
  test.each(REFUSED)("%j", async (args, launcher, exitCode, message) => {
    const ended = await runProgram({ args, launcher, binary: reachableBinary(), input: "sk-x\n" });
    expect(ended.exitCode).toBe(exitCode);
    expect(ended.stderr.split("\n")[0]).toBe(`responses-api-proxy: error: ${message}`);
  });

  test.skipIf(lacks("root"))(
    "a file that the user may not execute: one line, exit code 3 (needs root)",
    async () => {
      const ended = await runProgram({
        args: [`--user=${ORDINARY}`],
        binary: reachableBinary(0o700),
        input: "sk-x\n",
      });
      expect(ended.exitCode).toBe(3);
      expect(ended.stderr).toMatch(
        /^responses-api-proxy: error: cannot start again with a clean environment \(execve: EACCES\)\n/,
      );
    },
  );
});
