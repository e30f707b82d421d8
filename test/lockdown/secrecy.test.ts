// No attack from outside gets the key from the compiled binary.

import { beforeAll, describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { scanMemory } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { CANARY_KEY, isAlive, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { OK, RawUpstream } from "../harness/upstream.ts";
import { as, BOB, isRoot, ORDINARY, reachableBinary, runAs } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();
const args = [`--upstream-url=${upstream.url}`];
const status = (pid: number, field: string, task = pid): string =>
  new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))![1]!;

describe("another process, as the user the proxy runs as and as another user", () => {
  const launcher = ["sh", "-c", 'ulimit -l 64; exec "$0" "$@"', ...as(ORDINARY)];
  let proxy: Proxy;
  let binary: string;
  beforeAll(async () => {
    binary = reachableBinary();
    proxy = await Proxy.start({ args, binary, launcher: as(ORDINARY) });
    await roundTrip(proxy.port, REQUEST);
  });

  // With hidepid (proc(5)) the process is not even visible in /proc.
  const CLOSED = lacks("/proc without hidepid") ? /^(EACCES|EPERM|ENOENT)$/ : /^(EACCES|EPERM)$/;
  const everyDoorIsClosed = async (uid: number): Promise<void> => {
    // Only root can look up an address. Others can use any, because the kernel refuses them before it looks at the address.
    const address = isRoot ? addressOfStack(proxy.pid) : 4096;
    const doors = JSON.parse(await runAs(uid, "attacker.ts", String(proxy.pid), String(address)));
    expect(Object.keys(doors).length).toBeGreaterThan(20);
    for (const [door, result] of Object.entries(doors)) expect(result, door).toMatch(CLOSED);
    expect(isAlive(proxy.pid)).toBe(true);
  };
  test("every door is closed to the same user", () => everyDoorIsClosed(ORDINARY));
  test.skipIf(lacks("root"))("every door is closed to another user (needs root)", () =>
    everyDoorIsClosed(BOB),
  );

  test.skipIf(lacks("ptrace_scope 0"))(
    "the neighbour: every door of an ordinary process is open to the same user (needs ptrace_scope 0)",
    async () => {
      const sleeper = Bun.spawn([...as(ORDINARY), "sleep", "60"]);
      // The user changes before setpriv executes sleep.
      const name = (): string => readFileSync(`/proc/${sleeper.pid}/comm`, "utf8");
      await until(() => name() === "sleep\n", "sleep");
      const address = addressOfStack(sleeper.pid);
      const doors = JSON.parse(await runAs(ORDINARY, "attacker.ts", String(sleeper.pid), String(address)));
      sleeper.kill("SIGKILL");
      const closed = Object.entries(doors).filter(([, result]) => result !== "OK");
      // The kernel shows stacks only to root, and some kernels have no NUMA maps.
      expect(closed.map(([door]) => door).filter((door) => !["stack", "numa_maps"].includes(door))).toEqual(
        [],
      );
    },
  );

  test("without the right to lock memory: a warning that says what it means, the key's pages still locked, and the proxy serves", async () => {
    const limited = await Proxy.start({ args, binary, launcher });
    await limited.waitForLine(/RLIMIT_MEMLOCK unlimited\n/);
    // There is a warning about the installation as well, which here is not the recommended one.
    const messages = limited.stderr.replaceAll("responses-api-proxy: ", "").split("\n").slice(1, -1);
    expect(messages).toEqual([
      expect.stringMatching(/^protections: not dumpable from exec, no core, sandbox .+, uid \d+$/),
      expect.stringMatching(
        /^warning: during the start, other processes of this user could have taken over the pipe that the key comes through/,
      ),
      expect.stringMatching(/^hint: install it so that its user cannot read it/),
      expect.stringMatching(
        /^warning: memory is not locked \(mlockall: E\w+\): copies of the key may be written to the swap device$/,
      ),
      expect.stringMatching(/^hint: .*setcap cap_ipc_lock=ep/),
      expect.stringMatching(/^hint: /),
    ]);
    expect((await roundTrip(limited.port, REQUEST)).status).toBe(200);
  });

  test.skipIf(lacks("root"))(
    "without the right to lock memory: the scan of memory sees copies that are not locked (needs root)",
    async () => {
      const limited = await Proxy.start({ args, binary, launcher });
      expect((await roundTrip(limited.port, REQUEST)).status).toBe(200);
      expect(scanMemory(limited.pid, CANARY_KEY).unlocked).toBeGreaterThan(0);
    },
  );

  test("--strict: the same is an error, exit code 11, and the key is not read", async () => {
    const { exitCode, stderr } = await runProgram({
      args: [...args, "--strict"],
      binary,
      launcher,
      input: "",
    });
    expect(exitCode).toBe(11);
    expect(stderr).toMatch(/^responses-api-proxy: error: memory is not locked \(mlockall: E\w+\)/m);
  });
});

describe("the process", () => {
  test.skipIf(lacks("/proc without hidepid"))(
    "limits and flags, in every thread (needs /proc without hidepid)",
    async () => {
      const proxy = await Proxy.start({
        args,
        launcher: ["sh", "-c", 'ulimit -Sn 256; ulimit -Sc "$(ulimit -Hc)"; exec "$0" "$@"'],
      });
      const limits = readFileSync(`/proc/${proxy.pid}/limits`, "utf8");
      expect(limits).toMatch(/^Max core file size +([01]) +\1 +bytes/m);
      expect(limits).toMatch(/^Max open files +(\d+) +\1 +files/m);
      expect(limits).not.toMatch(/^Max open files +256 /m);
      const tasks = readdirSync(`/proc/${proxy.pid}/task`).map(Number);
      expect(tasks.length).toBeGreaterThan(1);
      for (const task of tasks) expect(status(proxy.pid, "NoNewPrivs", task)).toBe("1");
      expect(readFileSync(`/proc/${proxy.pid}/comm`, "utf8")).toBe("responses-proxy\n");
    },
  );

  test("the caller's descriptors are closed: a reader at the other end of one sees its end", async () => {
    const fifo = join(temporaryDirectory(), "fifo");
    await Bun.spawn(["mkfifo", fifo]).exited;
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    atEnd(() => closeSync(reader));
    const launcher = ["sh", "-c", `exec 9>${fifo}; echo x >&9; exec "$0" "$@"`];
    const space = Buffer.alloc(16);
    // The neighbour: if a program keeps the descriptor open, the reader sees no end.
    const keeper = Bun.spawn([...launcher, "sleep", "60"]);
    await until(() => readFileSync(`/proc/${keeper.pid}/comm`, "utf8") === "sleep\n", "sleep");
    expect(readSync(reader, space)).toBe(2);
    expect(() => readSync(reader, space)).toThrow("EAGAIN");
    keeper.kill("SIGKILL");
    await within(keeper.exited, "SIGKILL to end it");
    await Proxy.start({ args, launcher });
    expect(readSync(reader, space)).toBe(2);
    expect(readSync(reader, space)).toBe(0);
  });

  test.skipIf(lacks("root"))(
    "nothing inherited stays open: standard input and output are /dev/null, the caller's descriptors are gone (needs root)",
    async () => {
      const directory = temporaryDirectory();
      const launcher = ["sh", "-c", `exec 3>${directory}/three 9>${directory}/nine; exec "$0" "$@"`];
      const proxy = await Proxy.start({ args, launcher, cwd: directory });
      const fds = readdirSync(`/proc/${proxy.pid}/fd`).map(
        (fd) => [fd, readlinkSync(`/proc/${proxy.pid}/fd/${fd}`)] as const,
      );
      expect(Object.fromEntries(fds)).toMatchObject({ 0: "/dev/null", 1: "/dev/null", 2: "/dev/null" });
      for (const [, target] of fds)
        expect(target).toMatch(/^(\/dev\/null|socket:|pipe:|anon_inode:\[event(poll|fd)\])/);
      expect(readlinkSync(`/proc/${proxy.pid}/cwd`)).toBe("/");
    },
  );

  test.skipIf(lacks("strace"))(
    "is not started under a tracer: exit code 4, the key unread (needs strace)",
    async () => {
      const trace = `${temporaryDirectory()}/trace`;
      const launcher = ["strace", "-f", "-o", trace];
      const { exitCode, stderr } = await runProgram({ args, launcher, input: `${CANARY_KEY}\n` });
      expect(exitCode).toBe(4);
      expect(stderr).toMatch(
        /^responses-api-proxy: error: process \d+ is tracing this one and could read the key\n/,
      );
      expect(readFileSync(trace, "latin1")).not.toContain(CANARY_KEY.slice(0, 10));
    },
  );

  // Shows that what the runtime prints when it crashes does not contain the key. The limit and the flag each prevent a
  // core file; this test only checks that there is none.
  test.each(["SIGSEGV", "SIGABRT"] as const)("%s leaves the key nowhere", async (signal) => {
    const cwd = temporaryDirectory();
    const proxy = await Proxy.start({
      args,
      cwd,
      launcher: ["sh", "-c", 'ulimit -Sc "$(ulimit -Hc)"; exec "$0" "$@"'],
    });
    await roundTrip(proxy.port, REQUEST);
    proxy.signal(signal);
    const ended = await proxy.ended();
    expect(ended).toMatchObject({ exitCode: null, signal: expect.stringMatching(/^SIG/) });
    expect(ended.stdout + ended.stderr).not.toContain(CANARY_KEY.slice(0, 10));
    expect(readdirSync(cwd)).toEqual([]);
    expect(readdirSync("/").filter((name) => name.startsWith("core"))).toEqual([]);
  });
});

test("one exchange, and the key is only in the request to the upstream", async () => {
  const seen = upstream.requests.length;
  const proxy = await Proxy.start({ args });
  upstream.answer = OK;
  const answer = await roundTrip(proxy.port, REQUEST);
  const { stdout, stderr } = await proxy.stop();
  expect(answer.raw + stdout + stderr).not.toContain(CANARY_KEY.slice(0, 10));
  expect(JSON.stringify(upstream.requests.slice(seen)).split(CANARY_KEY)).toHaveLength(2);
});

/** Returns a mapped address of the process: the start of its stack. */
function addressOfStack(pid: number): number {
  const maps = readFileSync(`/proc/${pid}/maps`, "latin1");
  return Number.parseInt(/^([0-9a-f]+)-[0-9a-f]+ .*\[stack\]$/m.exec(maps)![1]!, 16) + 0x1_0000;
}
