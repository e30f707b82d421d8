// --allow-user: exactly these users' connections are served, whatever another user does with ports, addresses and the end of a connection.

import { describe, expect, test } from "bun:test";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";

import { replaceByNullDevice } from "../../native/files/descriptors.ts";
import { openSocketDiagnostics, SocketOwner } from "../../native/sockets/socket-owner.ts";
import * as terminal from "../../src/base/terminal.ts";
import { Callers } from "../../src/server/callers.ts";
import { atEnd } from "../harness/cleanup.ts";
import { Client, type ClientSocket } from "../harness/clients.ts";
import { until, within } from "../harness/deadline.ts";
import { onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { type Ended, Proxy, runProgram } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, BOB } from "../harness/users.ts";
import { type Answer, HEAD, open, REQUEST, roundTrip } from "../harness/wire.ts";

const NOT_FOUND = "a user that is not known any more";
const REFUSED = {
  error: {
    message: "refused by responses-api-proxy: this user may not use it (--allow-user)",
    type: "proxy_error",
    param: null,
    code: "user_refused",
  },
};

type Served = { proxy: Proxy; upstream: RawUpstream; port: number };

/** A proxy that serves these users, and tells in its log whom it refused. */
async function serving(users: (number | string)[], ...more: string[]): Promise<Served> {
  const upstream = new RawUpstream();
  const allow = users.map((user) => `--allow-user=${user}`);
  const args = [...allow, `--upstream-url=${upstream.url}`, "--log-level=debug", ...more];
  const proxy = await Proxy.start({ args });
  return { proxy, upstream, port: proxy.port };
}

function expectRefused(answer: Answer): void {
  expect({ status: answer.status, body: JSON.parse(answer.body) }).toEqual({ status: 403, body: REFUSED });
}

/** Waits until the proxy has refused somebody, who then must have cost the upstream nothing. */
async function untilRefused({ proxy, upstream }: Served, by: string): Promise<void> {
  await proxy.waitForLine(new RegExp(`refused, by ${by}: user_refused\n`));
  expect({ connections: upstream.connections, bytes: upstream.bytesReceived }).toEqual({
    connections: 0,
    bytes: 0,
  });
}

/** Has the proxy see nothing of what happens meanwhile, as on a busy machine. */
async function unseen(proxy: Proxy, happens: () => Promise<void>): Promise<void> {
  proxy.signal("SIGSTOP");
  await until(
    () => /^State:\tT/m.test(readFileSync(`/proc/${proxy.pid}/status`, "utf8")),
    "the proxy to stop",
  );
  await happens();
  proxy.signal("SIGCONT");
}

/** The state of the client's end, from /proc/net/tcp (01 is ESTABLISHED, 05 FIN_WAIT2); undefined once it is gone. */
function stateOf(clientPort: number, port: number): string | undefined {
  const end = (number: number): string => `0100007F:${number.toString(16).toUpperCase().padStart(4, "0")}`;
  const line = `${end(clientPort)} ${end(port)} `;
  const table = readFileSync("/proc/net/tcp", "latin1");
  const at = table.indexOf(line);
  return at === -1 ? undefined : table.slice(at + line.length, at + line.length + 2);
}

const FIN_WAIT2 = "05";
const TIME_WAIT = "06";

describe.skipIf(lacks("root"))("of three users, those of --allow-user are served (needs root)", () => {
  test("one by number: another user and root are refused, on connections that stay open", async () => {
    const served = await serving([ALICE]);
    const [alice, bob, root] = [Client.shared(ALICE), Client.shared(BOB), Client.shared(0)];
    const sockets = await Promise.all([alice, bob, root].map((client) => client.open(served.port)));
    const [ofAlice, ofBob, ofRoot] = sockets as [ClientSocket, ClientSocket, ClientSocket];
    expectRefused(await ofBob.ask(REQUEST));
    expectRefused(await ofRoot.ask(REQUEST));
    await untilRefused(served, "user 0");
    for (let round = 1; round <= 3; round++) {
      expect(await ofAlice.ask(REQUEST)).toMatchObject({ status: 200, body: "ok" });
      expectRefused(await ofBob.ask(REQUEST));
      expectRefused(await ofRoot.ask(REQUEST));
      expect(served.upstream.requests).toHaveLength(round);
    }
  });

  test("the refused user's number is in the log, and in no answer", async () => {
    const served = await serving([ALICE], "--log-json");
    const answer = await (await Client.shared(BOB).open(served.port)).ask(REQUEST);
    expectRefused(answer);
    expect(answer.raw).not.toContain(String(BOB));
    expect(answer.raw).not.toContain(String(ALICE));
    const line = await served.proxy.waitForLine(/^.*"rule":"user_refused".*$/m);
    expect(JSON.parse(line[0])).toMatchObject({ event: "refusal", status: 403, by: `user ${BOB}` });
  });

  test("an exchange's line names its user", async () => {
    const served = await serving([ALICE]);
    await (await Client.shared(ALICE).open(served.port)).ask(REQUEST);
    await served.proxy.waitForLine(
      new RegExp(`^responses-api-proxy: #1 200, .*, by user ${ALICE}: done$`, "m"),
    );
  });

  test("two; and names mean their users", async () => {
    const served = await serving(["root", BOB]);
    const [alice, bob, root] = [Client.shared(ALICE), Client.shared(BOB), Client.shared(0)];
    expectRefused(await (await alice.open(served.port)).ask(REQUEST));
    await untilRefused(served, `user ${ALICE}`);
    expect((await (await bob.open(served.port)).ask(REQUEST)).status).toBe(200);
    expect((await (await root.open(served.port)).ask(REQUEST)).status).toBe(200);
  });

  test("GET /shutdown is theirs, too", async () => {
    const served = await serving([ALICE], "--http-shutdown");
    const shutdown = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    expectRefused(await (await bob.open(served.port)).ask(shutdown));
    // It still serves.
    expect((await (await alice.open(served.port)).ask(REQUEST)).status).toBe(200);
    expect((await (await alice.open(served.port)).ask(shutdown)).status).toBe(200);
    expect((await served.proxy.ended()).exitCode).toBe(0);
  });

  test("any address of 127.0.0.0/8, and an IPv6 socket for IPv4, may be the client's", async () => {
    const served = await serving([ALICE]);
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    for (const from of [{ address: "127.0.0.2" }, { address: "127.255.255.254" }, { mapped: true }]) {
      expectRefused(await (await bob.open(served.port, from)).ask(REQUEST));
      expect((await (await alice.open(served.port, from)).ask(REQUEST)).status).toBe(200);
    }
    expect(served.upstream.requests).toHaveLength(3);
  });

  test("1,000 requests of two users on few connections, in a row and at once: exactly the allowed ones pass", async () => {
    const served = await serving([ALICE]);
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    const request = (who: string): string => `${HEAD}X-Who: ${who}\r\nContent-Length: 2\r\n\r\nhi`;
    const statuses: Record<string, number[]> = { alice: [], bob: [] };
    const asking = async (client: Client, who: string): Promise<void> => {
      for (let connection = 0; connection < 4; connection++) {
        const socket = await client.open(served.port);
        for (let count = 0; count < 125; count++)
          statuses[who]!.push((await socket.ask(request(who))).status);
        // So that ports are used again.
        await socket.reset();
      }
    };
    await Promise.all([asking(alice, "alice"), asking(bob, "bob")]);
    expect(statuses["alice"]).toEqual(Array<number>(500).fill(200));
    expect(statuses["bob"]).toEqual(Array<number>(500).fill(403));
    expect(served.upstream.requests).toHaveLength(500);
    for (const { fields } of served.upstream.requests) expect(fields).toContainEqual(["x-who", "alice"]);
  });
});

describe.skipIf(lacks("root"))("tricks of another user (needs root)", () => {
  test("the same port right after an allowed user's connection, and the other way round", async () => {
    const served = await serving([ALICE]);
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    let { port } = await alice.open(served.port).then(async (socket) => {
      await socket.reset();
      return socket;
    });
    for (let round = 1; round <= 5; round++) {
      const ofBob = await bob.open(served.port, { port });
      expectRefused(await ofBob.ask(REQUEST));
      await ofBob.reset();
      const ofAlice = await alice.open(served.port, { port });
      expect((await ofAlice.ask(REQUEST)).status).toBe(200);
      await ofAlice.reset();
      expect(served.upstream.requests).toHaveLength(round);
      ({ port } = ofAlice);
    }
  });

  test("the port of an allowed user's connection, at another address of the host's", async () => {
    const served = await serving([ALICE]);
    const { port } = await Client.shared(ALICE).open(served.port);
    const ofBob = await Client.shared(BOB).open(served.port, { address: "127.0.0.2", port });
    expectRefused(await ofBob.ask(REQUEST));
    await untilRefused(served, `user ${BOB}`);
  });

  test.each([ALICE, 0])("a reset right after the request: nobody is taken for user %d", async (allowed) => {
    const served = await serving([allowed]);
    const bob = Client.shared(BOB);
    await unseen(served.proxy, async () => {
      const socket = await bob.open(served.port);
      await socket.send(REQUEST);
      await socket.reset();
    });
    await untilRefused(served, NOT_FOUND);
    // Neither without being held up, and for GET /shutdown.
    for (let count = 0; count < 20; count++) {
      const socket = await bob.open(served.port);
      await socket.send(REQUEST);
      await socket.reset();
    }
    const allowedOne = Client.shared(allowed);
    expect((await (await allowedOne.open(served.port)).ask(REQUEST)).status).toBe(200);
    expect(served.upstream.requests).toHaveLength(1);
  });

  test("GET /shutdown and a reset", async () => {
    const served = await serving([ALICE], "--http-shutdown");
    await unseen(served.proxy, async () => {
      const socket = await Client.shared(BOB).open(served.port);
      await socket.send("GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await socket.reset();
    });
    await untilRefused(served, NOT_FOUND);
    expect((await (await Client.shared(ALICE).open(served.port)).ask(REQUEST)).status).toBe(200);
  });

  test("a reset right after the request, and an allowed user's connection from the same port before it is read", async () => {
    const served = await serving([ALICE]);
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    let ofAlice: ClientSocket;
    await unseen(served.proxy, async () => {
      const ofBob = await bob.open(served.port);
      await ofBob.send(`${HEAD}X-Who: bob\r\nContent-Length: 2\r\n\r\nhi`);
      await ofBob.reset();
      ofAlice = await alice.open(served.port, { port: ofBob.port });
    });
    await untilRefused(served, NOT_FOUND);
    expect((await ofAlice!.ask(REQUEST)).status).toBe(200);
    expect(served.upstream.requests).toHaveLength(1);
  });

  test.each([ALICE, 0])("a close right after the request: nobody is taken for user %d", async (allowed) => {
    const served = await serving([allowed]);
    const bob = Client.shared(BOB);
    // The kernel keeps such an end in short, without its owner: as root's.
    await unseen(served.proxy, async () => {
      const socket = await bob.open(served.port);
      await socket.send(REQUEST);
      await socket.close();
      await until(() => stateOf(socket.port, served.port) === FIN_WAIT2, "the end to be FIN_WAIT2");
    });
    await untilRefused(served, NOT_FOUND);
    const allowedOne = Client.shared(allowed);
    expect((await (await allowedOne.open(served.port)).ask(REQUEST)).status).toBe(200);
  });

  test("an end of sending right after the request is refused, whoever's it is: the connection is not a whole one", async () => {
    const served = await serving([ALICE]);
    for (const uid of [BOB, ALICE]) {
      const socket = await Client.shared(uid).open(served.port);
      await unseen(served.proxy, async () => {
        await socket.send(REQUEST);
        await socket.endSending();
      });
      expectRefused(await socket.answer());
    }
    await untilRefused(served, NOT_FOUND);
  });

  test("an allowed user's socket that listens on the client's port, which the kernel falls back to", async () => {
    const served = await serving([ALICE]);
    const [alice, bob] = [Client.shared(ALICE), Client.shared(BOB)];
    await unseen(served.proxy, async () => {
      const ofBob = await bob.open(served.port);
      await ofBob.send(REQUEST);
      await ofBob.reset();
      await alice.do("listen", { port: ofBob.port });
    });
    await untilRefused(served, NOT_FOUND);
  });

  test("a connection counts as that of the user whose process opened it: after the process has become another user", async () => {
    const served = await serving([ALICE]);
    const [toBob, toAlice] = [Client.as(0), Client.as(0)];
    await Promise.all([toBob, toAlice].map((client) => client.do("become", 0)));
    const ofRoot = await toAlice.open(served.port);
    await toAlice.do("become", ALICE);
    expectRefused(await ofRoot.ask(REQUEST));
    await untilRefused(served, "user 0");
    // Its next connection is that of the user it has become.
    expect((await (await toAlice.open(served.port)).ask(REQUEST)).status).toBe(200);
  });

  test("a connection counts as that of the user whose process opened it: passed on to another user's", async () => {
    const served = await serving([ALICE]);
    const [ofAlice, ofBob] = await Promise.all([
      Client.shared(ALICE).open(served.port),
      Client.shared(BOB).open(served.port),
    ]);
    const [toAlice, toBob] = [Client.as(0), Client.as(0)];
    const [bobsInAlice, alicesInBob] = [await toAlice.take(ofBob), await toBob.take(ofAlice)];
    await Promise.all([toAlice.do("become", ALICE), toBob.do("become", BOB)]);
    expectRefused(await bobsInAlice.ask(REQUEST));
    await untilRefused(served, `user ${BOB}`);
    // Whoever may use the proxy may let others do so, in whatever way.
    expect((await alicesInBob.ask(REQUEST)).status).toBe(200);
  });

  test("requests in advance on one connection are judged one by one", async () => {
    const served = await serving([ALICE]);
    const socket = await Client.shared(BOB).open(served.port);
    await socket.send(REQUEST.repeat(5));
    await until(
      () => served.proxy.stderr.match(/user_refused/g)?.length === 5,
      "five requests to be refused",
      { seen: () => served.proxy.stderr },
    );
    await untilRefused(served, `user ${BOB}`);
  });
});

describe.skipIf(lacks("root"))("what the kernel says of a client's end (needs root)", () => {
  const listener = (): { port: number; owner: SocketOwner } => {
    const { port } = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    return { port, owner: new SocketOwner(openSocketDiagnostics(), port) };
  };
  const address = "127.0.0.1";

  test("open: its user; from another address, with the same port: no one's", async () => {
    const { port: to, owner } = listener();
    const { port } = await Client.shared(BOB).open(to);
    expect(owner.ownerOf({ address, port })).toBe(BOB);
    expect(owner.ownerOf({ address: "127.0.0.2", port })).toBeUndefined();
    expect(owner.ownerOf({ address: "::1", port })).toBeUndefined();
    await Client.shared(ALICE).open(to, { address: "127.0.0.2", port });
    expect(owner.ownerOf({ address: "127.0.0.2", port })).toBe(ALICE);
    expect(owner.ownerOf({ address, port })).toBe(BOB);
  });

  test("an IPv6 socket for IPv4: its user", async () => {
    const { port: to, owner } = listener();
    const { port } = await Client.shared(BOB).open(to, { mapped: true });
    expect(owner.ownerOf({ address, port })).toBe(BOB);
  });

  test("closed, and in TIME_WAIT: no one's, root's neither", async () => {
    const accepted = Promise.withResolvers<Socket>();
    // Its end stays open until it is closed here.
    const server = createServer({ allowHalfOpen: true }, accepted.resolve).listen(0, address);
    await within(once(server, "listening"), "the server to listen");
    const { port: to } = server.address() as AddressInfo;
    const owner = new SocketOwner(openSocketDiagnostics(), to);
    const socket = await Client.shared(BOB).open(to);
    await socket.close();
    await until(() => stateOf(socket.port, to) === FIN_WAIT2, "the end to be FIN_WAIT2");
    expect(owner.ownerOf({ address, port: socket.port })).toBeUndefined();
    (await within(accepted.promise, "the connection")).end();
    await until(() => stateOf(socket.port, to) === TIME_WAIT, "the end to be in TIME_WAIT");
    expect(owner.ownerOf({ address, port: socket.port })).toBeUndefined();
    server.close();
  });

  test("none there, one that only listens there, at that address or at any: no one's", async () => {
    const { port: to, owner } = listener();
    const alice = Client.shared(ALICE);
    const { port } = await alice.do("listen", {});
    expect(owner.ownerOf({ address, port })).toBeUndefined();
    const anywhere = await alice.do("listen", { address: "0.0.0.0" });
    expect(owner.ownerOf({ address, port: anywhere.port })).toBeUndefined();
    expect(owner.ownerOf({ address, port: 1 })).toBeUndefined();
    expect(owner.ownerOf({ address, port: to })).toBeUndefined();
  });

  test("a port that nobody listens on cannot be asked about", () => {
    expect(() => new SocketOwner(openSocketDiagnostics(), 1)).toThrow("sock_diag: ENOENT");
  });
});

test("if the kernel cannot be asked any more, a request is refused, and without --allow-user it passes", () => {
  terminal.setStyle({ logLevel: "silent", logJson: false });
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  atEnd(() => listener.stop(true));
  const { port } = listener;
  const request = new Request(`http://127.0.0.1:${port}/v1/responses`, { method: "POST" });
  const connection = {
    port,
    requestIP: () => ({ address: "127.0.0.1", port: 1, family: "IPv4" as const }),
  };
  const asked = (allowed: number[]) => {
    const diagnostics = openSocketDiagnostics();
    const callers = Callers.for(allowed, undefined, diagnostics, port);
    // send(2) fails from here on: ENOTSOCK.
    replaceByNullDevice(diagnostics);
    return callers.admit(request, connection);
  };
  expect(asked([ALICE])).toMatchObject({ code: "user_refused", by: NOT_FOUND });
  expect(asked([])).toEqual({ by: undefined });
});

describe("without the flag", () => {
  test("everybody is served, and the lines of debug say who it was", async () => {
    const { port, proxy } = await serving([]);
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    await proxy.waitForLine(new RegExp(`#1 200, .*, by user ${process.getuid!()}: done`));
  });

  test.skipIf(lacks("root"))("whoever resets the connection is not refused either (needs root)", async () => {
    const { proxy, port } = await serving([]);
    await unseen(proxy, async () => {
      const socket = await Client.shared(BOB).open(port);
      await socket.send(REQUEST);
      await socket.reset();
    });
    // Whether the upstream hears of it depends on what is seen first, the request or the reset.
    await proxy.waitForLine(/#1 .*: (client left|done)$/m);
  });

  test("nothing listens at [::1], for which there is no such check", async () => {
    const { port } = await serving([process.getuid!()]);
    expect((await roundTrip(port, REQUEST)).status).toBe(200);
    const attempt = Bun.connect({ hostname: "::1", port, socket: { data() {} } });
    expect(attempt).rejects.toThrow();
    await attempt.catch(() => {});
  });

  test("a client that is refused for another reason is not asked about, and not served", async () => {
    const { port, proxy } = await serving([process.getuid!()]);
    const answer = await roundTrip(port, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(JSON.parse(answer.body).error.code).toBe("route_refused");
    const wire = await open(port, REQUEST);
    await wire.until(/ok$/);
    expect(proxy.stderr).toContain("refused: route_refused");
  });
});

describe("users who cannot be meant", () => {
  const start = (...users: string[]): Promise<Ended> =>
    runProgram({ args: users.map((user) => `--allow-user=${user}`), input: "sk-unused\n" });

  test.each(["no-such-user", "-5", "1.5", "0x0", "4294967295", "99999999999", "root ", "1000,1001"])(
    "%j: exit code 2, and a hint",
    async (user) => {
      expect(await start("0", user)).toEqual({
        exitCode: 2,
        signal: null,
        stdout: "",
        stderr: `responses-api-proxy: error: --allow-user '${user}' is no user\nresponses-api-proxy: hint: give a name that getent(1) knows, or a number\nresponses-api-proxy: hint: responses-api-proxy --help shows all flags\n`,
      });
    },
  );
});

describe.skipIf(lacks("root"))("a kernel that does not say whose a connection is (needs root)", () => {
  const KERNELS: [kernel: string, launcher: string[], cause: string][] = [
    ["without such sockets", onKernel({ "socket 0=16": "EPROTONOSUPPORT" }), "socket: EPROTONOSUPPORT"],
    // The program's other sends have other flags.
    ["that refuses questions", onKernel({ "sendto 3=16384": "ECONNREFUSED" }), "send: ECONNREFUSED"],
  ];

  test.each(KERNELS)("%s: --allow-user is an error, with a hint", async (_kernel, launcher, cause) => {
    const ended = await runProgram({ launcher, args: [`--allow-user=${ALICE}`], input: "sk-unused\n" });
    expect(ended).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: --allow-user: the kernel does not say whose a connection is (${cause})\nresponses-api-proxy: hint: it must have CONFIG_INET_DIAG; gVisor has not: use --socket or --client-token there\n`,
    });
  });

  test.each(KERNELS)(
    "%s: without the flag it serves, and the log names nobody",
    async (_kernel, launcher) => {
      const upstream = new RawUpstream();
      const args = ["--log-level=debug", `--upstream-url=${upstream.url}`];
      const proxy = await Proxy.start({ launcher, args });
      expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
      const [line] = await proxy.waitForLine(/#1 200, .*\n/);
      expect(line).toEndWith(" ms: done\n");
    },
  );
});
