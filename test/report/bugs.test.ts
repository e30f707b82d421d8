// A bug in the program shows neither its message, which may quote the key, nor source code, and the program still exits properly.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { FLAGS } from "../../packaging/build.ts";
import { CANARY_KEY, Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();
const binary = join(temporaryDirectory(), "failing");

beforeAll(() => {
  const define = `--define=SECRET="${CANARY_KEY}"`;
  const build = [process.execPath, "build", "test/harness/failing.ts", ...FLAGS, define];
  expect(Bun.spawnSync([...build, `--outfile=${binary}`]).exitCode).toBe(0);
}, 60_000);

describe("a bug in the program", () => {
  test.each([
    ["an exception that nobody catches", "SIGUSR2"],
    ["a rejection that nobody handles", "SIGWINCH"],
  ] as const)(
    "%s ends it with exit code 70, its class and no more, and without the server-info file",
    async (_what, signal) => {
      const info = join(temporaryDirectory(), "info.json");
      const args = ["--server-info", info, `--upstream-url=${upstream.url}`];
      const proxy = await Proxy.start({ binary, args });
      await proxy.waitForLine(/protections: .*\n/);
      expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
      expect(existsSync(info)).toBe(true);
      proxy.signal(signal);
      const { exitCode, stdout, stderr } = await proxy.ended();
      expect({ exitCode, stdout }).toEqual({ exitCode: 70, stdout: "" });
      expect(stderr).toEndWith("responses-api-proxy: error: internal error (TypeError), details withheld\n");
      expect(stderr).not.toContain(CANARY_KEY);
      expect(existsSync(info)).toBe(false);
    },
  );

  test("that leaves it unable to answer: the runtime's own answer has no message and no source in it", async () => {
    const proxy = await Proxy.start({ binary, args: [`--upstream-url=${upstream.url}`] });
    proxy.signal("SIGURG");
    expect(await proxy.firstOutputLine()).toBe("broken");
    const { status, raw } = await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(status).toBe(500);
    expect(raw).not.toContain(CANARY_KEY);
    expect(raw).not.toMatch(/TypeError|src\/|native\/|function|<html/i);
    const { stderr } = await proxy.stop();
    expect(stderr).not.toContain(CANARY_KEY);
  });
});
