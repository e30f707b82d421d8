// The key in the proxy's memory, as root sees it: in locked pages only, while it is read, idle, and under load.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { until, within } from "../harness/deadline.ts";
import { mappingsWithFlags, scanMemory } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, CANARY_KEY, Proxy } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, reachableBinary } from "../harness/users.ts";
import { chunk, LAST_CHUNK, open, REQUEST, roundTrip, STREAM } from "../harness/wire.ts";

const args = [`--upstream-url=${new RawUpstream().url}`];

describe.skipIf(lacks("root"))("the key in memory (needs root)", () => {
  test("while it is being read: pages locked, kept out of dumps, wiped on fork", async () => {
    // Below a limit that forbids locking all memory, so that the flags seen are those of these pages.
    const command = [
      "sh",
      "-c",
      'ulimit -l 64; exec "$0" "$@"',
      ...as(ALICE),
      reachableBinary(0o711),
      ...args,
    ];
    const child = Bun.spawn(command, { stdin: "pipe", stderr: "pipe", env: BARE_ENVIRONMENT });
    child.stdin.write(CANARY_KEY.slice(0, 10));
    child.stdin.flush();
    const locked = (): string[] => mappingsWithFlags(child.pid, "lo", "dd", "wf");
    await until(() => locked().length > 0, "pages that are locked");
    const pages = locked();
    expect(pages).toHaveLength(1);
    expect(pages[0]).toMatch(/^\w+-\w+ rw-p /);
    child.kill("SIGKILL");
    await within(child.exited, "SIGKILL to end it");
  });

  test("idle: exactly one copy, locked", async () => {
    const proxy = await Proxy.start({ args });
    expect(scanMemory(proxy.pid, CANARY_KEY)).toEqual({ copies: 1, unlocked: 0 });
    expect(readFileSync(`/proc/${proxy.pid}/status`, "utf8")).not.toMatch(/^VmLck:\s+0 kB$/m);
  });

  test("every mapping that can be written is locked, those of later threads included", async () => {
    const proxy = await Proxy.start({ args });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    const writable = mappingsWithFlags(proxy.pid, "wr");
    expect(writable.length).toBeGreaterThan(10);
    expect(writable.filter((block) => !/^VmFlags:.*\blo\b/m.test(block))).toEqual([]);
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
        connection.write(STREAM + chunk("ok"));
        finish.push(() => connection.write(LAST_CHUNK));
      },
    });
    const proxy = await Proxy.start({ args: [`--upstream-url=${streaming.url}`] });
    const wires = await Promise.all(Array.from({ length: 1_000 }, () => open(proxy.port, REQUEST)));
    await Promise.all(wires.map((wire) => wire.until(/ok\r\n$/, 30)));
    expect(finish).toHaveLength(1_000);
    expect(scanMemory(proxy.pid, CANARY_KEY).unlocked).toBe(0);
    for (const one of finish) one();
    await Promise.all(wires.map((wire) => wire.until(/\r\n0\r\n\r\n$/, 30)));
    for (const wire of wires) wire.socket.destroy();
    expect(scanMemory(proxy.pid, CANARY_KEY).unlocked).toBe(0);
  });
});
