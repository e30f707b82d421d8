// No file descriptor left: running streams go on, the processor is not burnt, and new clients get 503.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { type Connection, OK, RawUpstream } from "../harness/upstream.ts";
import { type Address, chunk, open, REQUEST, roundTrip, STREAM, type Wire } from "../harness/wire.ts";

test.skipIf(lacks("/proc without hidepid")).each(["--port", "--socket"])(
  "300 idle connections on a proxy that may have 128 descriptors, over %s (needs /proc without hidepid)",
  async (flag) => {
    let event = (): void => {};
    const upstream = new RawUpstream({
      answer: (connection) => {
        connection.write(STREAM);
        event = () => connection.write(chunk("ok"));
        event();
      },
    });
    const launcher = ["sh", "-c", 'ulimit -n 128; exec "$0" "$@"'];
    const socket = join(temporaryDirectory(), "proxy.sock");
    const listens = flag === "--port" ? "--port=0" : `--socket=${socket}`;
    const proxy = await Proxy.start({ args: [listens, `--upstream-url=${upstream.url}`], launcher });
    const address = flag === "--port" ? proxy.port : socket;
    const stream = await open(address, REQUEST);
    await stream.until(/ok\r\n$/);

    const idle: Wire[] = [];
    for (let count = 0; count < 300; count++) {
      // Once it is full, it can have refused before the client sees that it is connected.
      const wire = await open(address).catch(() => undefined);
      if (wire !== undefined) idle.push(wire);
    }
    expect(idle.length).toBeGreaterThan(120);
    await proxy.waitForLine(/no file descriptors left/);
    const newcomer = await roundTrip(address, REQUEST);
    expect(newcomer.status).toBe(503);
    expect(JSON.parse(newcomer.body).error).toMatchObject({ type: "proxy_error", code: "overloaded" });

    const [used, began] = [processorSeconds(proxy.pid), performance.now()];
    for (let count = 0; count < 20; count++) {
      const { length } = stream.received;
      event();
      await stream.until(new RegExp(`^[\\s\\S]{${length + 1},}`));
      await Bun.sleep(50);
    }
    // This takes a second or more by design, all of which a loop that spins would use.
    const share = (1000 * (processorSeconds(proxy.pid) - used)) / (performance.now() - began);
    expect(share).toBeLessThan(0.5);

    for (const wire of idle) wire.socket.destroy();
    upstream.answer = "HTTP/1.1 204 No Content\r\n\r\n";
    expect(await statusOnceThereIsRoom(address)).toBe(204);
  },
);

test.each(["", "--dump-dir"])(
  "many requests at once to an upstream that does not exist, with 64 descriptors %s",
  async (flag) => {
    const launcher = ["sh", "-c", 'ulimit -n 64; exec "$0" "$@"'];
    for (let start = 0; start < 4; start++) {
      const dump = flag === "" ? [] : [`${flag}=${temporaryDirectory()}/dump`];
      const proxy = await Proxy.start({
        args: ["--upstream-url=http://127.0.0.1:1/v1/responses", ...dump],
        launcher,
      });
      for (let round = 0; round < 3; round++) {
        const wires = await Promise.all(Array.from({ length: 70 }, () => open(proxy.port, REQUEST)));
        // Each gets an error: there is no upstream, and not all connections are accepted.
        await Promise.all(wires.map((wire) => wire.until(/^HTTP\/1\.1 50\d /)));
        for (const wire of wires) wire.socket.destroy();
      }
      expect(await statusOnceThereIsRoom(proxy.port)).toBe(502);
      expect((await proxy.stop()).exitCode).toBe(0);
    }
  },
);

test("connections that come the moment it listens, with 32 descriptors: it survives, and serves later", async () => {
  // One start in five is unlucky, so several are tried.
  for (let start = 0; start < 12; start++) {
    const port = freePort();
    const launcher = ["sh", "-c", 'ulimit -n 32; exec "$0" "$@"'];
    const starting = Proxy.start({
      args: [`--port=${port}`, "--upstream-url=http://127.0.0.1:1/v1/responses"],
      launcher,
    });
    let isReady = false;
    const sockets: Socket[] = [];
    const flood = async (): Promise<void> => {
      while (!isReady) {
        for (let count = 0; count < 40; count++) {
          const socket = connect({ port, host: "127.0.0.1" });
          socket.on("error", () => {}).once("connect", () => socket.write(REQUEST));
          sockets.push(socket);
        }
        await new Promise(setImmediate);
      }
    };
    const flooding = flood();
    const proxy = await starting.finally(() => (isReady = true));
    await flooding;
    await proxy.waitForLine(/protections: /);
    for (const socket of sockets) socket.destroy();
    const serves = async (): Promise<boolean> => (await roundTrip(proxy.port, REQUEST)).status === 502;
    await until(serves, "an answer that says that there is no upstream");
    expect((await proxy.stop()).exitCode).toBe(0);
  }
});

test("110 connections to the upstream that were used at once do not keep clients out, with 260 descriptors", async () => {
  const authority = await makeAuthority();
  const held: Connection[] = [];
  const upstream = new RawUpstream({
    tls: authority.server,
    answer: (connection) => {
      held.push(connection);
      if (held.length === 110) for (const { write } of held) write(OK);
    },
  });
  const proxy = await Proxy.start({
    args: [`--upstream-url=https://127.0.0.1:${upstream.port}/v1/responses`],
    env: trust(authority, temporaryDirectory()),
    launcher: ["sh", "-c", 'ulimit -n 260; exec "$0" "$@"'],
  });
  const answers = await Promise.all(Array.from({ length: 110 }, () => roundTrip(proxy.port, REQUEST)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  upstream.answer = OK;
  // With 110 descriptors for the upstream's connections there would be none left; with the 64 that the runtime keeps for itself there are.
  // The kernel shows a connection to the proxy at its first byte.
  const idle = await Promise.all(Array.from({ length: 165 }, () => open(proxy.port, "P")));
  expect(await statusOnceThereIsRoom(proxy.port)).toBe(200);
  for (const wire of idle) wire.socket.destroy();
});

/** Returns a port that nobody listens on. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

/** Of the first answer that is not 503: descriptors of connections that were closed are free a moment later. */
async function statusOnceThereIsRoom(address: Address): Promise<number> {
  let status = 503;
  const isRoom = async (): Promise<boolean> => {
    ({ status } = await roundTrip(address, REQUEST));
    return status !== 503;
  };
  await until(isRoom, "an answer other than 503");
  return status;
}

/** Returns the processor time of the process, user and system. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
