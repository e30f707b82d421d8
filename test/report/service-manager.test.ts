// What the program tells a service manager, on a socket of the test's own.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { cString } from "../../native/ffi/c-data.ts";
import { libc } from "../../native/ffi/libc.ts";
import { close } from "../../native/files/files.ts";
import { connectDatagram } from "../../native/sockets/datagram.ts";
import { DatagramSocket } from "../harness/datagrams.ts";
import { within } from "../harness/deadline.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

describe("NOTIFY_SOCKET", () => {
  test("gets READY once connections are accepted and the file is written, STOPPING when asked to end", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "server-info.json");
    const manager = new DatagramSocket(join(directory, "notify"));
    // The answer is held back, so that an exchange is in flight at SIGTERM.
    const held = Promise.withResolvers<() => void>();
    const upstream = new RawUpstream({
      answer: (connection) =>
        held.resolve(() => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    });
    const starting = Proxy.start({
      args: ["--server-info", file, `--upstream-url=${upstream.url}`],
      env: { NOTIFY_SOCKET: join(directory, "notify") },
    });
    const ready = await manager.receive();
    const { port } = await Bun.file(file).json();
    expect(ready).toBe(`READY=1\nSTATUS=listening on http://127.0.0.1:${port}`);
    const answered = roundTrip(port, REQUEST);
    const answer = await within(held.promise, "the request to reach the upstream");

    const proxy = await starting;
    proxy.signal("SIGTERM");
    expect(await manager.receive()).toBe("STOPPING=1\nSTATUS=ending");
    answer();
    expect((await answered).status).toBe(200);
    expect((await proxy.ended()).exitCode).toBe(0);
    expect(proxy.stderr).not.toContain("warning: the service manager");
  });

  test("that nobody listens to is a warning, and the proxy serves", async () => {
    const proxy = await Proxy.start({ env: { NOTIFY_SOCKET: join(temporaryDirectory(), "nobody") } });
    await proxy.waitForLine(
      /warning: the service manager cannot be told \(NOTIFY_SOCKET, connect: ENOENT\)\n/,
    );
    expect((await proxy.stop()).exitCode).toBe(0);
  });

  test("that is too long for a socket's name is a warning", async () => {
    const proxy = await Proxy.start({ env: { NOTIFY_SOCKET: `/${"x".repeat(200)}` } });
    await proxy.waitForLine(
      /warning: the service manager cannot be told \(NOTIFY_SOCKET, connect: ENAMETOOLONG\)\n/,
    );
    await proxy.stop();
  });

  test("whose reader has stopped reading is a warning, and is not waited for", async () => {
    const name = join(temporaryDirectory(), "notify");
    const manager = new DatagramSocket(name);
    const other = connectDatagram(name);
    const MSG_DONTWAIT = 0x40;
    while (libc.send(other, cString("x"), 1n, MSG_DONTWAIT) === 1n);
    const proxy = await Proxy.start({ env: { NOTIFY_SOCKET: name } });
    await proxy.waitForLine(/warning: the service manager cannot be told \(NOTIFY_SOCKET, send: EAGAIN\)\n/);
    expect((await proxy.stop()).exitCode).toBe(0);
    close(other);
    expect(manager.received()).toBe("x");
  });

  test("with an abstract name is out of the sandbox's reach: a warning, and nothing is sent", async () => {
    const name = `@responses-api-proxy-test-${process.pid}`;
    const manager = new DatagramSocket(name);
    const proxy = await Proxy.start({ env: { NOTIFY_SOCKET: name } });
    await proxy.waitForLine(
      /warning: the service manager cannot be told \(NOTIFY_SOCKET, connect: EPERM\)\n/,
    );
    await proxy.stop();
    expect(manager.received()).toBeUndefined();
  });
});
