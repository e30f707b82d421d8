// Bytes pass at once, stop if either side leaves, and are held back if either does not read; raw sockets at both ends.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import {
  chunk,
  HEAD,
  LAST_CHUNK,
  open,
  parseAnswer,
  REQUEST,
  roundTrip,
  STREAM,
  unchunk,
  type Wire,
} from "../harness/wire.ts";

const MIB = 1024 * 1024;

/** A connection as the upstream sees it. */
type Arrival = {
  socket: Socket;
  received: () => string;
  /** Resolves once the bytes received end with this text. */
  until: (end: string) => Promise<void>;
  /** Resolves when the proxy has closed or reset it. */
  closed: () => Promise<void>;
};

/** Starts an upstream of raw sockets that does nothing by itself, and a proxy in front of it. */
async function pair(
  args: string[] = [],
): Promise<{ proxy: Proxy; next: () => Promise<Arrival>; count: () => number }> {
  const arrivals: Arrival[] = [];
  const waiting: ((arrival: Arrival) => void)[] = [];
  let count = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    count++;
    let received = "";
    socket.on("data", (bytes) => (received += bytes.toString("latin1")));
    socket.on("error", () => {});
    const closed = new Promise<void>((resolve) => socket.on("end", resolve).on("close", () => resolve()));
    const seen = (): string =>
      `${received.length} bytes, at their end ${JSON.stringify(received.slice(-500))}`;
    const arrival: Arrival = {
      socket,
      received: () => received,
      until: async (end) => {
        const what = `${JSON.stringify(end.slice(-100))} to reach the upstream`;
        await until(() => received.endsWith(end), what, { seen });
      },
      closed: () => within(closed, "the upstream's connection to be closed", { seen }),
    };
    const waiter = waiting.shift();
    if (waiter === undefined) arrivals.push(arrival);
    else waiter(arrival);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(() => void server.close());
  const { port } = server.address() as { port: number };
  const proxy = await Proxy.start({
    args: [`--upstream-url=http://127.0.0.1:${port}/v1/responses`, ...args],
  });
  const next = (): Promise<Arrival> => {
    const arrival = arrivals.shift();
    if (arrival !== undefined) return Promise.resolve(arrival);
    const arriving = new Promise<Arrival>((resolve) => waiting.push(resolve));
    return within(arriving, "a connection to the upstream");
  };
  return { proxy, next, count: () => count };
}

describe("at once", () => {
  test("each event before the next one is sent, in either direction", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, `${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
    const upstream = await next();
    for (const word of ["one", "two", "three"]) {
      wire.send(chunk(word));
      await upstream.until(chunk(word));
    }
    wire.send(LAST_CHUNK);
    await upstream.until(LAST_CHUNK);
    upstream.socket.write(STREAM);
    for (const word of ["uno", "due", "tre"]) {
      upstream.socket.write(chunk(word));
      await wire.until(new RegExp(`${word}\r\n$`));
    }
    upstream.socket.write(LAST_CHUNK);
    await wire.until(/\r\n0\r\n\r\n$/);
    expect(unchunk(wire.received.split("\r\n\r\n").slice(1).join("\r\n\r\n"))).toBe("unoduetre");
  });
});

// Closed because the client left: an idle connection is closed after 20 s at the earliest, and `closed` gives up before.
describe("the client leaves, and the upstream's connection is closed", () => {
  const before = async (leave: (wire: Wire) => void, request: string, answer?: string): Promise<Arrival> => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, request);
    const upstream = await next();
    await until(() => upstream.received().includes("\r\n\r\n"), "the head of the request");
    if (answer !== undefined) {
      upstream.socket.write(answer);
      await wire.until(/ok/);
    }
    leave(wire);
    await upstream.closed();
    return upstream;
  };
  const LEAVING: [how: string, leave: (wire: Wire) => void][] = [
    ["with a FIN", (wire) => wire.socket.destroy()],
    ["with a reset", (wire) => wire.socket.resetAndDestroy()],
  ];
  describe.each(LEAVING)("%s", (_how, leave) => {
    test("while uploading a body of known length, which stays incomplete", async () => {
      const upstream = await before(leave, `${HEAD}Content-Length: 1000000\r\n\r\n${"a".repeat(300_000)}`);
      expect(upstream.received()).toMatch(/^Content-Length: 1000000\r$/m);
      expect(upstream.received().split("\r\n\r\n")[1]!.length).toBeLessThan(1_000_000);
    });

    test("while uploading chunks, of which the last never comes", async () => {
      const upstream = await before(leave, `${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk("hello")}`);
      expect(upstream.received()).not.toContain("\r\n0\r\n\r\n");
    });

    test("while waiting for the first byte", async () => {
      await before(leave, REQUEST);
    });

    test("in the middle of a stream", async () => {
      await before(leave, REQUEST, STREAM + chunk("ok"));
    });
  });

  test("while uploading a body that is read whole: the upstream gets nothing", async () => {
    const { proxy, count } = await pair(["--log-level=debug"]);
    const wire = await open(proxy.port, `${HEAD}Content-Length: 10\r\n\r\nhello`);
    await proxy.waitForLine(/protections: /);
    wire.socket.destroy();
    await proxy.waitForLine(/#1 .*: client left\n/);
    expect(count()).toBe(0);
  });
});

test("a client that leaves while its upload is held back is seen once the upstream reads on, for Bun 1.4.5; nothing worse follows", async () => {
  const path = join(temporaryDirectory(), "proxy.sock");
  const { proxy, next } = await pair(["--port=0", `--socket=${path}`, "--max-concurrent=1"]);
  for (const address of [path, proxy.port]) {
    const wire = await open(address, `${HEAD}Content-Length: ${1024 * MIB}\r\n\r\n`);
    const { socket, closed } = await next();
    socket.pause();
    // More than all buffers on the way take.
    wire.send("a".repeat(32 * MIB));
    let unsent = 0;
    await until(async () => {
      const before = unsent;
      await Bun.sleep(300);
      unsent = wire.socket.writableLength;
      return unsent > 0 && unsent === before;
    }, "the upload to be held back");
    wire.socket.destroy();
    await Bun.sleep(500);
    // It still has its place.
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(503);
    socket.resume();
    await closed();
    const served = open(proxy.port, REQUEST);
    const later = await next();
    await later.until("hi");
    later.socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    await (await served).until(/ok$/);
  }
});

describe("the upstream breaks off", () => {
  const CLIPPED: [where: string, bytes: string, sees: "502" | "cut" | "502 or cut"][] = [
    ["before the head", "", "502"],
    ["in the head", "HTTP/1.1 200 OK\r\nContent-Le", "502"],
    ["after the head of a chunked answer", STREAM, "502 or cut"],
    [
      "after the head of an answer of known length",
      "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
      "502 or cut",
    ],
    ["in a chunk", `${STREAM}8\r\nok`, "502 or cut"],
    ["between two chunks", STREAM + chunk("ok"), "502 or cut"],
    ["short of its Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", "502 or cut"],
    ["with an invalid chunk size", `${STREAM + chunk("ok")}zz\r\n`, "502 or cut"],
  ];
  const ENDS = ["in order", "by a reset"] as const;
  describe.each(ENDS)("%s", (how) => {
    test.each(CLIPPED)("%s", async (_where, bytes, sees) => {
      const { proxy, next } = await pair();
      const wire = await open(proxy.port, REQUEST);
      const { socket, until } = await next();
      await until("hi");
      if (bytes !== "") await new Promise((resolve) => socket.write(bytes, resolve));
      if (how === "in order") socket.end();
      else socket.resetAndDestroy();
      await wire.until(/"code":"\w+"\}\}$/);
      const answer = parseAnswer(wire.received, false);
      if (answer === undefined) {
        // Incomplete and the connection closed: no client can take that for a whole answer.
        expect(sees).not.toBe("502");
        expect(wire.closed).toBeDefined();
      } else {
        expect(answer.status).toBe(502);
        expect(JSON.parse(answer.body).error.code).toMatch(/^upstream_(broke_off|unreadable)$/);
      }
    });
  });

  test("once the client has a first event, its connection is cut", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, REQUEST);
    const { socket } = await next();
    socket.write(STREAM + chunk("ok"));
    await wire.until(/ok\r\n$/);
    socket.resetAndDestroy();
    expect(await wire.untilClosed()).toBe("reset");
    expect(wire.received).toEndWith("ok\r\n");
    // What Bun itself prints about this does not appear.
    expect((await proxy.stop()).stderr).not.toContain("TypeError");
  });
});

describe("never twice", () => {
  test("a pooled connection that turns out to be dead: 502 that says so, and one request", async () => {
    const { proxy, next, count } = await pair();
    const first = open(proxy.port, REQUEST);
    const upstream = await next();
    await upstream.until("hi");
    upstream.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await (await first).until(/ok$/);
    const second = roundTrip(proxy.port, REQUEST);
    await until(() => upstream.received().split("\r\n\r\nhi").length === 3, "the second request");
    upstream.socket.resetAndDestroy();
    const { status, body } = await second;
    expect(status).toBe(502);
    expect(JSON.parse(body).error).toMatchObject({
      code: "upstream_broke_off",
      message: expect.stringContaining("may have reached it"),
    });
    expect(count()).toBe(1);
  });
});

/** Returns the resident memory in bytes. */
function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
}

describe.skipIf(lacks("/proc without hidepid"))("back-pressure (needs /proc without hidepid)", () => {
  /**
   * Writes up to 1 GiB while the other side reads. Resolves with the number of bytes written once no more are read
   * and the proxy is at rest: each of its threads sleeps each time it is looked at.
   */
  async function fill(socket: Socket, proxy: Proxy): Promise<number> {
    const block = Buffer.alloc(256 * 1024, "a");
    let written = 0;
    let quiet = 0;
    while (written < 1024 * MIB && quiet < 50) {
      if (socket.writableLength > MIB) {
        quiet = isAsleep(proxy.pid) ? quiet + 1 : 0;
        await Bun.sleep(5);
        continue;
      }
      quiet = 0;
      socket.write(block);
      written += block.length;
    }
    return written;
  }

  function isAsleep(pid: number): boolean {
    try {
      return readdirSync(`/proc/${pid}/task`).every((task) =>
        /^State:\tS/m.test(readFileSync(`/proc/${pid}/task/${task}/status`, "utf8")),
      );
    } catch {
      // The thread has just ended.
      return false;
    }
  }

  test("a 1 GiB answer to a client that does not read holds the upstream back, not the memory", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port);
    wire.socket.pause();
    wire.send(REQUEST);
    const { socket } = await next();
    const before = residentBytes(proxy.pid);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: ${1024 * MIB}\r\n\r\n`);
    const taken = await fill(socket, proxy);
    expect(taken).toBeLessThan(64 * MIB);
    expect(residentBytes(proxy.pid) - before).toBeLessThan(64 * MIB);
    // Held back, not stuck: once the client reads, it goes on.
    wire.socket.resume();
    await until(() => socket.writableLength === 0, "the client to get what was held back");
    expect(wire.received.length).toBeGreaterThan(0);
  });

  test("a 1 GiB upload to an upstream that does not read holds the client back, not the memory", async () => {
    const { proxy, next } = await pair();
    const before = residentBytes(proxy.pid);
    const wire = await open(proxy.port, `${HEAD}Content-Length: ${1024 * MIB}\r\n\r\n`);
    const arriving = next();
    void arriving.then(({ socket }) => socket.pause());
    expect(await fill(wire.socket, proxy)).toBeLessThan(64 * MIB);
    expect(residentBytes(proxy.pid) - before).toBeLessThan(64 * MIB);
    (await arriving).socket.resume();
    await until(() => wire.socket.writableLength === 0, "the upstream to get what was held back");
  });
});

describe("protocol", () => {
  const OK = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok";

  test("a connection is kept for the next request, on both sides", async () => {
    const { proxy, next, count } = await pair();
    const wire = await open(proxy.port, REQUEST);
    const { socket, received } = await next();
    for (let round = 1; round <= 3; round++) {
      await until(() => received().split("\r\n\r\nhi").length === round + 1, `request ${round}`);
      socket.write(OK);
      await until(() => wire.received.split("\r\n\r\nok").length === round + 1, `answer ${round}`);
      if (round < 3) wire.send(REQUEST);
    }
    expect(count()).toBe(1);
    expect(wire.closed).toBeUndefined();
  });

  test("Expect: 100-continue is answered before the body is sent", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, `${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    await wire.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
    wire.send("hi");
    const { socket, until } = await next();
    await until("hi");
    socket.write(`HTTP/1.1 100 Continue\r\n\r\n${OK}`);
    await wire.until(/ok$/);
    expect(wire.received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  });

  test("a body compressed with zstd reaches the upstream unchanged, read whole or streamed", async () => {
    for (const size of [1_000, 1_000_000]) {
      const { proxy, next } = await pair();
      const body = Buffer.from(
        Bun.zstdCompressSync(crypto.getRandomValues(Buffer.alloc(size / 2)).toString("hex")),
      ).toString("latin1");
      await open(
        proxy.port,
        `${HEAD}Content-Encoding: zstd\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      const { received, until } = await next();
      await until(body);
      expect(received()).toMatch(/^Content-Encoding: zstd\r$/m);
      expect(received()).toMatch(new RegExp(`^Content-Length: ${body.length}\r$`, "m"));
    }
  });

  test("an answer that comes before the end of the upload ends the upload", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, `${HEAD}Content-Length: 1000000\r\n\r\n${"a".repeat(300_000)}`);
    const { socket, closed } = await next();
    socket.write("HTTP/1.1 413 Content Too Large\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno");
    await wire.until(/no$/);
    expect(wire.received).toStartWith("HTTP/1.1 413 ");
    await closed();
  });

  test("a client that half-closes has left, for Bun 1.4.5; nothing worse follows", async () => {
    const { proxy, next } = await pair();
    const wire = await open(proxy.port, REQUEST);
    const { closed } = await next();
    wire.socket.end();
    await closed();
    expect(await wire.untilClosed()).toBe("end");
    expect(wire.received).toBe("");
    expect((await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
  });

  test("a second request while the first is answered closes the connection, for Bun 1.4.5; nothing worse follows", async () => {
    const { proxy, next, count } = await pair();
    const wire = await open(proxy.port, REQUEST);
    const { received, until, closed } = await next();
    await until("hi");
    wire.send(REQUEST);
    await wire.untilClosed();
    await closed();
    expect(received().split("POST ")).toHaveLength(2);
    expect(count()).toBe(1);
    expect((await roundTrip(proxy.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
  });
});
