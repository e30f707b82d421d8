// Listening and ending: who can connect or share the port, what ends the program, what happens to exchanges in flight.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import {
  awaitsKey,
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  isAlive,
  Proxy,
  runProgram,
} from "../harness/program.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { chunk, LAST_CHUNK, open, REQUEST, roundTrip, STREAM } from "../harness/wire.ts";

/** Starts an upstream; `next` resolves with the connection of the next request. */
function holding(): { upstream: RawUpstream; next: () => Promise<Connection> } {
  const arrived: Connection[] = [];
  let wake = (): void => {};
  const upstream = new RawUpstream({
    answer: (connection) => {
      arrived.push(connection);
      wake();
    },
  });
  const arrival = async (): Promise<Connection> => {
    while (arrived.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return arrived.shift()!;
  };
  const next = (): Promise<Connection> => within(arrival(), "a request to reach the upstream");
  return { upstream, next };
}

describe("listening", () => {
  test("on 127.0.0.1 only", async () => {
    const proxy = await Proxy.start();
    const others = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
    const elsewhere = ["127.0.0.2", "::1", ...others.map(({ address }) => address)].filter(
      (host) => host !== "127.0.0.1",
    );
    for (const hostname of elsewhere) {
      const attempt = Bun.connect({ hostname, port: proxy.port, socket: { data() {} } });
      expect(attempt).rejects.toThrow();
      await attempt.catch(() => {});
    }
    expect((await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
  });

  test("a taken port: one line, exit code 1; and the second of two proxies never gets a share of the first one's", async () => {
    const first = await Proxy.start();
    const second = await runProgram({ args: [`--port=${first.port}`], input: "sk-x\n" });
    expect(second).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: cannot listen on 127.0.0.1:${first.port}: another program has that port (EADDRINUSE)\nresponses-api-proxy: hint: leave --port out to get a free port, and read it from the --server-info file\n`,
    });
    // The same user, asking for a share (SO_REUSEPORT), gets none.
    const sharing = {
      hostname: "127.0.0.1",
      port: first.port,
      reusePort: true,
      fetch: () => new Response(""),
    };
    expect(() => Bun.serve(sharing)).toThrow(`Is port ${first.port} in use?`);
  });
});

describe("ending", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s: exit code 0 and nothing on standard output",
    async (signal) => {
      const proxy = await Proxy.start();
      proxy.signal(signal);
      expect(await proxy.ended()).toMatchObject({ exitCode: 0, signal: null, stdout: "" });
    },
  );

  test.skipIf(lacks("/proc without hidepid")).each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s while the key is awaited ends it, too (needs /proc without hidepid)",
    async (signal) => {
      for (const piece of ["", CANARY_KEY.slice(0, 8)]) {
        const child = Bun.spawn([BINARY], { stdin: "pipe", stderr: "pipe", env: BARE_ENVIRONMENT });
        child.stdin.write(piece);
        await child.stdin.flush();
        await until(() => awaitsKey(child.pid), "the program to wait for the key");
        child.kill(signal);
        expect(await within(child.exited, `${signal} to end it`)).toBe(1);
        expect(await new Response(child.stderr).text()).toBe(
          `responses-api-proxy: error: ${signal} came before the key\n`,
        );
      }
    },
  );

  test("SIGUSR1 ends nothing", async () => {
    const proxy = await Proxy.start();
    proxy.signal("SIGUSR1");
    proxy.signal("SIGUSR1");
    expect((await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
    expect(isAlive(proxy.pid)).toBe(true);
  });

  test.skipIf(lacks("/proc without hidepid"))(
    "nor does it while the program starts (needs /proc without hidepid)",
    async () => {
      for (let start = 0; start < 5; start++) {
        const child = Bun.spawn([BINARY], { stdio: ["pipe", "ignore", "ignore"], env: BARE_ENVIRONMENT });
        atEnd(() => child.kill("SIGKILL"));
        // The second start takes its name early, and some milliseconds before it asks for the key. Nothing else runs here meanwhile.
        const name = (): string => readFileSync(`/proc/${child.pid}/comm`, "utf8");
        for (const since = performance.now(); name() !== "responses-proxy\n";)
          if (performance.now() - since > 10_000) throw new Error("waited 10 s for the second start");
        child.kill("SIGUSR1");
        await until(() => child.signalCode ?? awaitsKey(child.pid), "the program to wait for the key");
        expect(child.signalCode).toBeNull();
        child.kill("SIGKILL");
        await child.exited;
      }
    },
  );

  test("GET /shutdown is refused unless --http-shutdown allows it", async () => {
    const proxy = await Proxy.start();
    const answer = await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(answer.status).toBe(403);
    expect(isAlive(proxy.pid)).toBe(true);
  });

  test("GET /shutdown: 200 without a body, then exit code 0", async () => {
    const proxy = await Proxy.start({ args: ["--http-shutdown"] });
    const answer = await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(answer).toMatchObject({ status: 200, body: "" });
    expect(await proxy.ended()).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test.each(["SIGTERM", "/shutdown"])(
    "at %s a stream in flight ends whole, and new connections are refused",
    async (how) => {
      const { upstream, next } = holding();
      const proxy = await Proxy.start({ args: ["--http-shutdown", `--upstream-url=${upstream.url}`] });
      const wire = await open(proxy.port, REQUEST);
      const connection = await next();
      connection.write(STREAM + chunk("one"));
      await wire.until(/one/);
      if (how === "SIGTERM") proxy.signal("SIGTERM");
      else await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await refusesConnections(proxy.port);
      connection.write(chunk("two"));
      await wire.until(/two/);
      connection.write(`${chunk("three")}${LAST_CHUNK}`);
      await wire.untilClosed();
      expect(wire.received).toEndWith("one\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
      expect((await proxy.ended()).exitCode).toBe(0);
    },
  );

  test("a stream that does not end within --shutdown-timeout is cut, and the exit code is 0", async () => {
    const { upstream, next } = holding();
    const args = ["--shutdown-timeout=1", "--log-level=debug", `--upstream-url=${upstream.url}`];
    const proxy = await Proxy.start({ args });
    const wire = await open(proxy.port, REQUEST);
    (await next()).write(STREAM + chunk("one"));
    await wire.until(/one/);
    proxy.signal("SIGTERM");
    await wire.untilClosed();
    expect(wire.received).not.toEndWith("0\r\n\r\n");
    const { exitCode, stderr } = await proxy.ended();
    expect(exitCode).toBe(0);
    expect(stderr).toContain("warning: 1 exchange was cut off: --shutdown-timeout was over\n");
    expect(stderr).toMatch(/#1 200, .*: cut off\n/);
  });

  test("a signal after GET /shutdown ends it at once", async () => {
    const { upstream, next } = holding();
    const args = ["--http-shutdown", "--shutdown-timeout=3600", `--upstream-url=${upstream.url}`];
    const proxy = await Proxy.start({ args });
    const wire = await open(proxy.port, REQUEST);
    (await next()).write(STREAM + chunk("one"));
    await wire.until(/one/);
    await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await refusesConnections(proxy.port);
    proxy.signal("SIGTERM");
    expect((await proxy.ended()).exitCode).toBe(0);
  });

  test("a second signal ends it at once", async () => {
    const { upstream, next } = holding();
    const proxy = await Proxy.start({ args: ["--shutdown-timeout=3600", `--upstream-url=${upstream.url}`] });
    const wire = await open(proxy.port, REQUEST);
    (await next()).write(STREAM + chunk("one"));
    await wire.until(/one/);
    proxy.signal("SIGTERM");
    await refusesConnections(proxy.port);
    proxy.signal("SIGTERM");
    expect((await proxy.ended()).exitCode).toBe(0);
  });
});

/** Resolves once connections to the port are refused. */
async function refusesConnections(port: number): Promise<void> {
  const isRefused = (): Promise<boolean> =>
    Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).then(
      (socket) => {
        socket.terminate();
        return false;
      },
      () => true,
    );
  await until(isRefused, `connections to port ${port} to be refused`);
}
