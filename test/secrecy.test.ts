// What keeps the key from others, tried from outside as the attacker, against the compiled binary.

import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

import { mappingsWithFlags, scanMemory } from "./harness/memory.ts";
import {
  BARE_ENVIRONMENT,
  CANARY_KEY,
  installedBinary,
  isAlive,
  Proxy,
  runProgram,
  temporaryDirectory,
} from "./harness/program.ts";
import { OK, RawUpstream } from "./harness/upstream.ts";
import { ALICE, as, BOB, isRoot, runAs } from "./harness/users.ts";
import { open, roundTrip } from "./harness/wire.ts";

const REQUEST = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi";

const upstream = new RawUpstream();
const args = [`--upstream-url=${upstream.url}`];
const status = (pid: number, field: string, task = pid): string =>
  new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))![1]!;

describe.if(isRoot)("another process, as the user the proxy runs as and as another user", () => {
  let proxy: Proxy;
  let binary: string;
  beforeAll(async () => {
    binary = installedBinary(0o755);
    proxy = await Proxy.start({ args, binary, launcher: as(ALICE) });
    await roundTrip(proxy.port, REQUEST);
  });

  test.each([ALICE, BOB])("user %d: every door is closed", async (uid) => {
    const address = addressOfStack(proxy.pid);
    const doors = JSON.parse(await runAs(uid, "attacker.ts", String(proxy.pid), String(address)));
    expect(Object.keys(doors).length).toBeGreaterThan(20);
    for (const [door, result] of Object.entries(doors)) expect(result, door).toMatch(/^(EACCES|EPERM)$/);
    expect(isAlive(proxy.pid)).toBe(true);
  });

  test("the neighbour: the same doors of an ordinary process of that user are open", async () => {
    const sleeper = Bun.spawn([...as(ALICE), "sleep", "60"]);
    await Bun.sleep(50);
    const address = addressOfStack(sleeper.pid);
    const doors = JSON.parse(await runAs(ALICE, "attacker.ts", String(sleeper.pid), String(address)));
    sleeper.kill("SIGKILL");
    const closed = Object.entries(doors).filter(([, result]) => result !== "OK");
    // The kernel keeps stacks to root, and has no NUMA maps everywhere.
    expect(closed.map(([door]) => door).filter((door) => !["stack", "numa_maps"].includes(door))).toEqual([]);
  });

  test("without the right to lock memory: a warning that says what it means, the key's pages locked, and service", async () => {
    const launcher = ["sh", "-c", 'ulimit -l 64; exec "$0" "$@"', ...as(ALICE)];
    const limited = await Proxy.start({ args, binary, launcher });
    await limited.waitForLine(/RLIMIT_MEMLOCK unlimited\n/);
    // Of the installation as well, which here is not the recommended one.
    const messages = limited.stderr.replaceAll("responses-api-proxy: ", "").split("\n").slice(1, -1);
    expect(messages).toEqual([
      expect.stringMatching(/^protections: not dumpable from exec, no core, sandbox .+, uid 61234$/),
      expect.stringMatching(
        /^warning: a process of this user that was there before could have taken the key's pipe over/,
      ),
      expect.stringMatching(/^hint: install it so that its user cannot read it/),
      expect.stringMatching(
        /^warning: memory is not locked \(mlockall: E\w+\): copies of the key may be written to the swap device$/,
      ),
      expect.stringMatching(/^hint: .*setcap cap_ipc_lock=ep/),
      expect.stringMatching(/^hint: /),
    ]);
    expect((await roundTrip(limited.port, REQUEST)).status).toBe(200);
    // And the scan does see what is not locked.
    expect(scanMemory(limited.pid, CANARY_KEY).unlocked).toBeGreaterThan(0);
  });

  test("--require-mlock: the same is an error, exit code 9, and the key is not read", async () => {
    const launcher = ["sh", "-c", 'ulimit -l 64; exec "$0" "$@"', ...as(ALICE)];
    const { exitCode, stderr } = await runProgram({
      args: [...args, "--require-mlock"],
      binary,
      launcher,
      input: "",
    });
    expect(exitCode).toBe(9);
    expect(stderr).toMatch(/^responses-api-proxy: error: memory is not locked \(mlockall: E\w+\)/);
  });
});

describe.if(isRoot)("the key in memory", () => {
  test("while it is being read: pages locked, kept out of dumps, wiped on fork", async () => {
    // Where not all memory may be locked, so that it is these pages' own lock that is seen.
    const command = [
      "sh",
      "-c",
      'ulimit -l 64; exec "$0" "$@"',
      ...as(ALICE),
      installedBinary(0o711),
      ...args,
    ];
    const child = Bun.spawn(command, { stdin: "pipe", stderr: "pipe", env: BARE_ENVIRONMENT });
    child.stdin.write(CANARY_KEY.slice(0, 10));
    child.stdin.flush();
    let pages: string[] = [];
    while ((pages = mappingsWithFlags(child.pid, "lo", "dd", "wf")).length === 0) await Bun.sleep(5);
    expect(pages).toHaveLength(1);
    expect(pages[0]).toMatch(/^\w+-\w+ rw-p /);
    child.kill("SIGKILL");
    await child.exited;
  });

  test("idle: exactly one copy, locked", async () => {
    const proxy = await Proxy.start({ args });
    expect(scanMemory(proxy.pid, CANARY_KEY)).toEqual({ copies: 1, unlocked: 0 });
    expect(status(proxy.pid, "VmLck")).not.toBe("0 kB");
  });

  test("after 10,000 requests on 64 connections: no copy that is not locked", async () => {
    const quick = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => new Response(await request.bytes()),
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=http://127.0.0.1:${quick.port}/v1/responses`] });
    let left = 10_000;
    const connection = async (): Promise<void> => {
      while (left-- > 0) {
        const answer = await fetch(`${proxy.baseUrl}/v1/responses`, { method: "POST", body: "hi" });
        expect(await answer.text()).toBe("hi");
      }
    };
    await Promise.all(Array.from({ length: 64 }, connection));
    const { copies, unlocked } = scanMemory(proxy.pid, CANARY_KEY);
    expect(unlocked).toBe(0);
    expect(copies).toBeGreaterThan(0);
    await quick.stop(true);
  });

  test("with 1,000 streams open, and after them: no copy that is not locked", async () => {
    const finish: (() => void)[] = [];
    const streaming = new RawUpstream({
      answer: (connection) => {
        connection.write(
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        );
        finish.push(() => connection.write("0\r\n\r\n"));
      },
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${streaming.url}`] });
    const wires = await Promise.all(Array.from({ length: 1_000 }, () => open(proxy.port, REQUEST)));
    await Promise.all(wires.map((wire) => wire.until(/ok\r\n$/)));
    expect(finish).toHaveLength(1_000);
    expect(scanMemory(proxy.pid, CANARY_KEY).unlocked).toBe(0);
    for (const one of finish) one();
    await Promise.all(wires.map((wire) => wire.until(/\r\n0\r\n\r\n$/)));
    for (const wire of wires) wire.socket.destroy();
    expect(scanMemory(proxy.pid, CANARY_KEY).unlocked).toBe(0);
  });
});

describe("the process", () => {
  test("limits and flags, in every thread", async () => {
    const proxy = await Proxy.start({
      args,
      launcher: ["sh", "-c", 'ulimit -Sn 256; ulimit -c unlimited; exec "$0" "$@"'],
    });
    const limits = readFileSync(`/proc/${proxy.pid}/limits`, "utf8");
    expect(limits).toMatch(/^Max core file size +([01]) +\1 +bytes/m);
    expect(limits).toMatch(/^Max open files +(\d+) +\1 +files/m);
    expect(limits).not.toMatch(/^Max open files +256 /m);
    const tasks = readdirSync(`/proc/${proxy.pid}/task`).map(Number);
    expect(tasks.length).toBeGreaterThan(1);
    for (const task of tasks) expect(status(proxy.pid, "NoNewPrivs", task)).toBe("1");
    expect(readFileSync(`/proc/${proxy.pid}/comm`, "utf8")).toBe("responses-proxy\n");
  });

  test("nothing inherited stays open: standard input is /dev/null, the caller's descriptors are gone", async () => {
    const directory = temporaryDirectory();
    const launcher = ["sh", "-c", `exec 3>${directory}/three 9>${directory}/nine; exec "$0" "$@"`];
    const proxy = await Proxy.start({ args, launcher, cwd: directory });
    const fds = readdirSync(`/proc/${proxy.pid}/fd`).map(
      (fd) => [fd, readlinkSync(`/proc/${proxy.pid}/fd/${fd}`)] as const,
    );
    expect(Object.fromEntries(fds)).toMatchObject({ 0: "/dev/null", 2: "/dev/null" });
    for (const [, target] of fds)
      expect(target).toMatch(/^(\/dev\/null|socket:|pipe:|anon_inode:\[event(poll|fd)\])/);
    expect(readlinkSync(`/proc/${proxy.pid}/cwd`)).toBe("/");
  });

  test("is not started under a tracer: exit code 4, the key unread", async () => {
    if (Bun.which("strace") === null) {
      console.error("skipped: strace is not installed");
      return;
    }
    const trace = `${temporaryDirectory()}/trace`;
    const launcher = ["strace", "-f", "-o", trace];
    const { exitCode, stderr } = await runProgram({ args, launcher, input: `${CANARY_KEY}\n` });
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(
      /^responses-api-proxy: error: process \d+ is tracing this one and could read the key\n/,
    );
    expect(readFileSync(trace, "latin1")).not.toContain(CANARY_KEY.slice(0, 10));
  });

  test.each(["SIGSEGV", "SIGABRT"] as const)("%s leaves the key nowhere", async (signal) => {
    const cwd = temporaryDirectory();
    const proxy = await Proxy.start({
      args,
      cwd,
      launcher: ["sh", "-c", 'ulimit -c unlimited; exec "$0" "$@"'],
    });
    await roundTrip(proxy.port, REQUEST);
    proxy.signal(signal);
    const ended = await proxy.ended();
    expect(ended.exitCode === 0).toBe(false);
    expect(ended.stdout + ended.stderr).not.toContain(CANARY_KEY.slice(0, 10));
    expect(readdirSync(cwd)).toEqual([]);
    expect(readdirSync("/").filter((name) => name.startsWith("core"))).toEqual([]);
  });
});

test("one request answered, and the key is in nothing but that request", async () => {
  const seen = upstream.requests.length;
  const proxy = await Proxy.start({ args });
  upstream.answer = OK;
  const answer = await roundTrip(proxy.port, REQUEST);
  const { stdout, stderr } = await proxy.stop();
  expect(answer.raw + stdout + stderr).not.toContain(CANARY_KEY.slice(0, 10));
  expect(JSON.stringify(upstream.requests.slice(seen)).split(CANARY_KEY)).toHaveLength(2);
});

/** An address at which the process has something: the start of its stack. */
function addressOfStack(pid: number): number {
  const maps = readFileSync(`/proc/${pid}/maps`, "latin1");
  return Number.parseInt(/^([0-9a-f]+)-[0-9a-f]+ .*\[stack\]$/m.exec(maps)![1]!, 16) + 0x1_0000;
}
