// `connect`: joins a port to the proxy's Unix socket byte for byte, in both directions, in order and broken off; and has nothing to hide.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { scanMemory } from "../harness/memory.ts";
import { lacks } from "../harness/needs.ts";
import { Output } from "../harness/output.ts";
import {
  BARE_ENVIRONMENT,
  BINARY,
  CANARY_KEY,
  isAlive,
  Proxy,
  runProgram,
  temporaryDirectory,
} from "../harness/program.ts";
import { type Connection, RawUpstream } from "../harness/upstream.ts";
import { chunk, HEAD, LAST_CHUNK, open, REQUEST, roundTrip, STREAM } from "../harness/wire.ts";

const upstream = new RawUpstream();
const inDirectory = (): string => join(temporaryDirectory(), "proxy.sock");

class Joiner {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #stdout: Output;
  readonly #stderr: Output;

  private constructor(
    child: Bun.Subprocess<"ignore", "pipe", "pipe">,
    readonly port: number,
    stdout: Output,
    stderr: Output,
  ) {
    this.#child = child;
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  static async start(socket: string, ...args: string[]): Promise<Joiner> {
    return await Joiner.#start([BINARY, "connect", `--socket=${socket}`, ...args]);
  }

  /** As process 1 of a PID namespace, as in a container. */
  static async startAsProcess1(socket: string): Promise<Joiner> {
    return await Joiner.#start([
      "unshare",
      "--pid",
      "--fork",
      "--kill-child",
      BINARY,
      "connect",
      `--socket=${socket}`,
    ]);
  }

  /** With at most so many descriptors. */
  static async startWith(descriptors: number, socket: string): Promise<Joiner> {
    const limit = ["sh", "-c", `ulimit -n ${descriptors}; exec "$0" "$@"`];
    return await Joiner.#start([...limit, BINARY, "connect", `--socket=${socket}`]);
  }

  static async #start(command: string[]): Promise<Joiner> {
    const child = Bun.spawn(command, {
      stdio: ["ignore", "pipe", "pipe"],
      env: BARE_ENVIRONMENT,
      cwd: "/",
    });
    atEnd(() => {
      child.kill("SIGKILL");
      return child.exited;
    });
    const [stdout, stderr] = [new Output(child.stdout), new Output(child.stderr)];
    const url = /^http:\/\/127\.0\.0\.1:(\d+)\n/;
    const [, port] = await stdout.waitFor(url, child.exited, () => stderr.text);
    return new Joiner(child, Number(port), stdout, stderr);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get stderr(): string {
    return this.#stderr.text;
  }

  waitForLine(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#stderr.waitFor(pattern, this.#child.exited, () => this.#stderr.text);
  }

  /** Ends it; what it wrote in all, and its exit code. */
  async stop(
    signal: NodeJS.Signals,
    pid = this.pid,
  ): Promise<{ stdout: string; stderr: string; exitCode: unknown }> {
    process.kill(pid, signal);
    const { exited } = this.#child;
    await within(Promise.all([exited, this.#stdout.done, this.#stderr.done]), "connect to end");
    return { stdout: this.#stdout.text, stderr: this.#stderr.text, exitCode: this.#child.exitCode };
  }
}

/** A bare listener on a Unix socket in the proxy's place: what it was sent, and its end of each connection. */
async function bare(): Promise<{ path: string; next: () => Promise<End> }> {
  const path = inDirectory();
  const arrived: End[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const end: End = { socket, received: "", fate: undefined };
    socket.on("data", (bytes) => (end.received += bytes.toString("latin1")));
    socket.on("end", () => (end.fate ??= "end"));
    socket.on("error", () => (end.fate = "reset"));
    socket.on("close", () => (end.fate ??= "end"));
    arrived.push(end);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  atEnd(() => void server.close());
  const next = async (): Promise<End> => {
    await until(() => arrived.length > 0, "a connection to the socket");
    return arrived.shift()!;
  };
  return { path, next };
}

type End = { socket: Socket; received: string; fate: "end" | "reset" | undefined };

async function behindProxy(answer?: ConstructorParameters<typeof RawUpstream>[0]) {
  const behind = answer === undefined ? upstream : new RawUpstream(answer);
  const socket = inDirectory();
  const proxy = await Proxy.start({ args: [`--socket=${socket}`, `--upstream-url=${behind.url}`] });
  return { socket, proxy, behind, joiner: await Joiner.start(socket) };
}

describe("joins", () => {
  test("a request and its answer, on the port whose base URL it has printed, and nothing more is said", async () => {
    const { joiner } = await behindProxy();
    const answer = await roundTrip(joiner.port, REQUEST);
    expect(answer).toMatchObject({ status: 200, body: "ok" });
    expect((await roundTrip(joiner.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status).toBe(403);
    expect(await joiner.stop("SIGTERM")).toEqual({
      stdout: `http://127.0.0.1:${joiner.port}\n`,
      stderr: "",
      exitCode: 0,
    });
  });

  test("a stream, each event before the next one is sent", async () => {
    const arrived = Promise.withResolvers<Connection>();
    const { joiner } = await behindProxy({ answer: arrived.resolve });
    const wire = await open(joiner.port, REQUEST);
    const connection = await arrived.promise;
    connection.write(STREAM);
    for (const word of ["uno", "due", "tre"]) {
      connection.write(chunk(word));
      await wire.until(new RegExp(`${word}\r\n$`));
    }
    connection.write(LAST_CHUNK);
    await wire.until(/\r\n0\r\n\r\n$/);
    expect(wire.received).toEndWith(chunk("uno") + chunk("due") + chunk("tre") + LAST_CHUNK);
  });

  test("every byte value, each way before the next one is sent", async () => {
    const { path, next } = await bare();
    const { port } = await Joiner.start(path);
    const wire = await open(port);
    const end = await next();
    const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte));
    for (const part of [bytes, "a", "\r\n", "\0"]) {
      const [up, down] = [end.received.length + part.length, wire.received.length + part.length];
      wire.send(part);
      await until(() => end.received.length === up, "the bytes to go up");
      end.socket.write(Buffer.from(part, "latin1"));
      await until(() => wire.received.length === down, "the bytes to come down");
    }
    for (const received of [end.received, wire.received]) expect(received).toBe(`${bytes}a\r\n\0`);
  });

  test("8 MB up and down at once, whole", async () => {
    const { path, next } = await bare();
    const { port } = await Joiner.start(path);
    const wire = await open(port);
    const end = await next();
    const bytes = crypto.getRandomValues(Buffer.alloc(65_536)).toString("latin1").repeat(128);
    wire.send(bytes);
    end.socket.write(Buffer.from(bytes, "latin1"));
    const isWhole = (): boolean => [end, wire].every(({ received }) => received.length >= bytes.length);
    await until(isWhole, "8 MB each way", { seconds: 30 });
    for (const { received } of [end, wire]) expect(received === bytes).toBe(true);
  });

  test.skipIf(lacks("/proc without hidepid"))(
    "nothing for whoever does not read: it holds the other back, and not the memory (needs /proc without hidepid)",
    async () => {
      const { path, next } = await bare();
      const joiner = await Joiner.start(path);
      const wire = await open(joiner.port);
      const end = await next();
      const WAYS: [from: Socket, to: Socket][] = [
        [wire.socket, end.socket],
        [end.socket, wire.socket],
      ];
      for (const [from, to] of WAYS) {
        to.pause();
        const before = residentBytes(joiner.pid);
        const block = Buffer.alloc(1024 * 1024);
        let written = 0;
        for (let quiet = 0; quiet < 50 && written < 1024;) {
          quiet = from.writableLength > block.length ? quiet + 1 : 0;
          if (quiet === 0) {
            from.write(block);
            written++;
          }
          await Bun.sleep(5);
        }
        expect(written).toBeLessThan(64);
        expect(residentBytes(joiner.pid) - before).toBeLessThan(64 * 1024 * 1024);
        to.resume();
        await until(() => from.writableLength === 0, "what was held back to go on");
      }
    },
  );

  test("many at once, each to its own", async () => {
    const { path, next } = await bare();
    const { port } = await Joiner.start(path);
    const wires = await Promise.all(Array.from({ length: 50 }, (_, index) => open(port, `${index};`)));
    for (let count = 0; count < wires.length; count++) {
      const end = await next();
      await until(() => end.received.endsWith(";"), "its number");
      end.socket.write(end.received);
    }
    for (const [index, wire] of wires.entries()) {
      await wire.until(/;/);
      expect(wire.received).toBe(`${index};`);
    }
  });
});

describe("ends as the other side ends", () => {
  test("the client has sent all, and still gets what comes", async () => {
    const { path, next } = await bare();
    const wire = await open((await Joiner.start(path)).port, "all");
    const end = await next();
    wire.socket.end();
    await until(() => end.fate === "end", "the end of what the client sends");
    expect(end.received).toBe("all");
    end.socket.write("one");
    await wire.until(/one/);
    end.socket.end("two");
    expect(await wire.untilClosed()).toBe("end");
    expect(wire.received).toBe("onetwo");
  });

  test("the proxy has sent all, and still gets what comes", async () => {
    const { path, next } = await bare();
    // Not by open(), whose socket ends when the other side does.
    const { port } = await Joiner.start(path);
    const client = Bun.connect({
      hostname: "127.0.0.1",
      port,
      allowHalfOpen: true,
      socket: { data() {}, end() {} },
    });
    const end = await next();
    end.socket.end("all");
    const socket = await client;
    socket.write("one");
    await until(() => end.received === "one", "one");
    socket.write("two");
    await until(() => end.received === "onetwo", "two");
    socket.end();
    await until(() => end.fate === "end", "the end");
  });

  test("the client resets: so does the other end, and the next one is served", async () => {
    const { path, next } = await bare();
    const joiner = await Joiner.start(path);
    for (let round = 0; round < 3; round++) {
      const wire = await open(joiner.port, "begun");
      const end = await next();
      await until(() => end.received === "begun", "begun");
      wire.socket.resetAndDestroy();
      await until(() => end.fate !== undefined, "the reset");
    }
    expect(isAlive(joiner.pid)).toBe(true);
    expect(joiner.stderr).toBe("");
  });

  test("the proxy breaks off: the client is reset, and the next one is served", async () => {
    const { path, next } = await bare();
    const joiner = await Joiner.start(path);
    for (let round = 0; round < 3; round++) {
      const wire = await open(joiner.port);
      const end = await next();
      end.socket.write("some");
      await wire.until(/some/);
      // More than all buffers hold: some of it nobody has read, or will. That is what a Unix socket calls a reset (unix(7)).
      wire.send("a".repeat(16 * 1024 * 1024));
      await until(() => end.received.length > 0, "some of it to go up");
      end.socket.destroy();
      expect(await wire.untilClosed()).toBe("reset");
      expect(wire.received).toBe("some");
    }
    expect(isAlive(joiner.pid)).toBe(true);
  });

  test("the client of a stream leaves: the proxy lets the upstream go", async () => {
    for (const how of ["destroy", "resetAndDestroy"] as const) {
      const closed = Promise.withResolvers<void>();
      const { joiner, behind } = await behindProxy({
        answer: (connection) => connection.write(STREAM + chunk("ok")),
      });
      behind.onClose = closed.resolve;
      const wire = await open(joiner.port, REQUEST);
      await wire.until(/ok\r\n$/);
      wire.socket[how]();
      await within(closed.promise, "the upstream's connection to be closed");
    }
  });

  test("the upstream breaks off: a truncated answer does not look whole", async () => {
    const FRAMINGS = [
      STREAM + chunk("ok\r\n"),
      `HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2000000\r\n\r\n${"a".repeat(999_996)}ok\r\n`,
    ];
    for (const answer of FRAMINGS) {
      const arrived = Promise.withResolvers<Connection>();
      const { joiner } = await behindProxy({ answer: arrived.resolve });
      const wire = await open(joiner.port, REQUEST);
      const connection = await arrived.promise;
      connection.write(answer);
      await wire.until(/ok\r\n(\r\n)?$/);
      connection.reset();
      await wire.untilClosed();
      expect(wire.received).toStartWith("HTTP/1.1 200 OK\r\n");
      expect(wire.received).toMatch(/ok\r\n(\r\n)?$/);
    }
  });

  test("the proxy ends while a stream goes on, which ends whole; the next client is reset", async () => {
    const arrived = Promise.withResolvers<Connection>();
    const { joiner, proxy } = await behindProxy({ answer: arrived.resolve });
    const wire = await open(joiner.port, REQUEST);
    const connection = await arrived.promise;
    connection.write(STREAM + chunk("one"));
    await wire.until(/one\r\n$/);
    proxy.signal("SIGTERM");
    await proxy.waitForLine(/SIGTERM: ending/);
    connection.write(chunk("two") + LAST_CHUNK);
    await wire.until(/\r\n0\r\n\r\n$/);
    await proxy.ended();
    await expectReset(joiner.port);
    await joiner.waitForLine(/cannot connect to /);
  });
});

describe("a socket that is not there", () => {
  test("the client is reset; one warning, however many there are; once it is there, it serves", async () => {
    const socket = inDirectory();
    const joiner = await Joiner.start(socket);
    for (let count = 0; count < 5; count++) await expectReset(joiner.port);
    expect(joiner.stderr).toBe(
      `responses-api-proxy: warning: cannot connect to '${socket}' (ENOENT): the client's connection is reset\n` +
        "responses-api-proxy: hint: start the proxy with --socket, and see that this user may connect to it (--socket-mode, --socket-group)\n",
    );
    const proxy = await Proxy.start({ args: [`--socket=${socket}`, `--upstream-url=${upstream.url}`] });
    expect((await roundTrip(joiner.port, REQUEST)).status).toBe(200);
    // Killed, it leaves a socket that nobody listens on.
    proxy.signal("SIGKILL");
    await proxy.ended();
    expect(existsSync(socket)).toBe(true);
    await expectReset(joiner.port);
    expect(isAlive(joiner.pid)).toBe(true);
  });

  test("or is a file, or a directory: the same", async () => {
    const directory = temporaryDirectory();
    // The tester's own: without the right to write to it, connect(2) says EACCES.
    const file = join(directory, "file");
    writeFileSync(file, "");
    for (const socket of [directory, file]) {
      const joiner = await Joiner.start(socket);
      await expectReset(joiner.port);
      await joiner.waitForLine(new RegExp(`cannot connect to '${socket}' \\(ECONNREFUSED\\): `));
    }
  });
});

describe("its port", () => {
  test("is on 127.0.0.1 only, and nobody gets a share of it", async () => {
    const { port } = await Joiner.start(inDirectory());
    const elsewhere = Bun.connect({ hostname: "127.0.0.2", port, socket: { data() {} } });
    await expect(elsewhere).rejects.toThrow();
    const sharing = { hostname: "127.0.0.1", port, reusePort: true, fetch: () => new Response("") };
    expect(() => Bun.serve(sharing)).toThrow(`Is port ${port} in use?`);
  });

  test("--port; one that is taken: exit code 1 with the words of the proxy's start", async () => {
    const first = await Joiner.start(inDirectory());
    const { port } = first;
    const start = (...words: string[]) => runProgram({ args: [...words, `--port=${port}`], input: "sk-x\n" });
    const refused = await start("connect", `--socket=${inDirectory()}`);
    expect(refused).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: cannot listen on 127.0.0.1:${port}: another program has that port (EADDRINUSE)\nresponses-api-proxy: hint: leave --port out to get a free port, and read it from the --server-info file\n`,
    });
    expect(refused).toEqual(await start());
    await first.stop("SIGTERM");
    expect((await Joiner.start(inDirectory(), `--port=${port}`)).port).toBe(port);
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "is free after %s, also with connections",
    async (signal) => {
      const { path, next } = await bare();
      const joiner = await Joiner.start(path);
      const wire = await open(joiner.port, "begun");
      const end = await next();
      expect(await joiner.stop(signal)).toMatchObject({ exitCode: 0, stderr: "" });
      await wire.untilClosed();
      await until(() => end.fate !== undefined, "the end");
      expect((await Joiner.start(path, `--port=${joiner.port}`)).port).toBe(joiner.port);
    },
  );
});

test.skipIf(lacks("PID namespaces"))(
  "SIGTERM ends it as process 1 of a container, too (needs PID namespaces)",
  async () => {
    const joiner = await Joiner.startAsProcess1(inDirectory());
    const [pid] = readFileSync(`/proc/${joiner.pid}/task/${joiner.pid}/children`, "utf8").split(" ");
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(/^NSpid:.*\t1$/m);
    expect(await joiner.stop("SIGTERM", Number(pid))).toMatchObject({ exitCode: 0, stderr: "" });
  },
);

test.skipIf(lacks("/proc without hidepid"))(
  "with too few descriptors it closes connections, does not spin, and serves later (needs /proc without hidepid)",
  async () => {
    const { socket } = await behindProxy();
    const joiner = await Joiner.startWith(64, socket);
    // Some are closed before they are seen to be open.
    const opened = await Promise.allSettled(Array.from({ length: 100 }, () => open(joiner.port)));
    const idle = opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    const kept = (): number => idle.filter(({ closed }) => closed === undefined).length;
    await until(() => kept() <= 20, "most to be closed");
    expect(kept()).toBeGreaterThan(10);
    const [used, began] = [processorSeconds(joiner.pid), performance.now()];
    await Bun.sleep(1_000);
    // A loop that spins uses all it can get.
    const share = (1000 * (processorSeconds(joiner.pid) - used)) / (performance.now() - began);
    expect(share).toBeLessThan(0.3);
    for (const wire of idle) wire.socket.destroy();
    const serves = async (): Promise<boolean> => (await roundTrip(joiner.port, REQUEST)).status === 200;
    await until(serves, "an answer of the upstream's");
    expect(joiner.stderr).toBe("");
  },
);

describe("has no key", () => {
  test.skipIf(lacks("root"))(
    "in its environment, its arguments or its memory, after requests that have one (needs root)",
    async () => {
      const { joiner } = await behindProxy();
      for (let count = 0; count < 20; count++)
        expect((await roundTrip(joiner.port, REQUEST)).status).toBe(200);
      for (const file of ["environ", "cmdline"])
        expect(readFileSync(`/proc/${joiner.pid}/${file}`, "latin1")).not.toContain(CANARY_KEY);
      expect(scanMemory(joiner.pid, CANARY_KEY).copies).toBe(0);
      // The neighbour: what it did carry is found.
      const wire = await open(joiner.port, `${HEAD}X-Marker: ${"marker-of-this-test"}\r\n`);
      const carries = (): boolean => scanMemory(joiner.pid, "marker-of-this-test").copies > 0;
      await until(carries, "the bytes that it carries");
      wire.socket.destroy();
    },
  );

  test("and asks for none: a key on standard input is not read", async () => {
    const { stdout, stderr, exitCode } = await runProgram({
      launcher: ["timeout", "1"],
      args: ["connect", `--socket=${inDirectory()}`],
      input: `${CANARY_KEY}\n`,
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 124, stderr: "" });
    expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n$/);
  });
});

test.skipIf(lacks("root", "ip", "curl"))(
  "in a network namespace of its own, the proxy is reached and nothing else (needs root, ip, curl)",
  async () => {
    const socket = inDirectory();
    const outside = await Proxy.start({
      args: [`--socket=${socket}`, "--port=0", `--upstream-url=${upstream.url}`],
    });
    const script = `
      ip link set lo up
      # No port of those below, which the kernel could choose.
      "$0" connect --socket "$1" --port 8126 >url &
      while ! [ -s url ]; do sleep 0.02; done
      ask() { curl --silent --max-time 5 --output /dev/null --write-out '%{http_code} ' "$@" || :; }
      ask --data hi "$(cat url)/v1/responses"
      ask "$(cat url)/"
      ask --data hi http://127.0.0.1:$2/v1/responses
      ask --data hi http://127.0.0.1:$3/
      ask http://192.0.2.1/
      kill $!`;
    const { stdout, exitCode } = await runProgram({
      launcher: ["unshare", "--net", "sh", "-ec", script],
      args: [socket, String(outside.port), String(upstream.port)],
      cwd: temporaryDirectory(),
    });
    expect({ stdout, exitCode }).toEqual({ stdout: "200 403 000 000 000 ", exitCode: 0 });
    // The neighbour: out here all of them but the last are reached.
    expect((await roundTrip(outside.port, REQUEST)).status).toBe(200);
  },
);

describe("refused with exit code 2", () => {
  const REFUSED: [args: string[], message: string, ...hints: string[]][] = [
    [[], "connect needs the proxy's socket", "responses-api-proxy connect --socket PATH"],
    [["--socket"], "--socket needs a value"],
    [["--socket=s", "--port=65536"], "--port must be a whole number from 0 to 65535, got '65536'"],
    [["--socket=s", "s"], "unexpected argument 's'"],
    [["--socket=s", "--socket=t"], "--socket is given more than once"],
    [["--socket=s", "--sokcet=t"], "unknown flag '--sokcet'", "did you mean --socket?"],
    [
      [`--socket=/tmp/${"a".repeat(103)}`],
      "--socket must have at most 107 bytes as an absolute path, got 108",
      "clients could not connect to a longer one (unix(7))",
    ],
  ];
  test.each(REFUSED)("%j", async (args, message, ...hints) => {
    const lines = [
      `error: ${message}`,
      ...[...hints, "responses-api-proxy connect --help shows all flags"].map((hint) => `hint: ${hint}`),
    ];
    expect(await runProgram({ args: ["connect", ...args], cwd: temporaryDirectory() })).toEqual({
      exitCode: 2,
      signal: null,
      stdout: "",
      stderr: lines.map((line) => `responses-api-proxy: ${line}\n`).join(""),
    });
  });
});

/** Expects the connection to be reset without a byte, which can be before the client sees that it is open. */
async function expectReset(port: number): Promise<void> {
  const wire = await open(port, REQUEST).catch((error: Error) => {
    if (!error.message.includes("ECONNRESET")) throw error;
    return undefined;
  });
  if (wire === undefined) return;
  expect(await wire.untilClosed()).toBe("reset");
  expect(wire.received).toBe("");
}

/** Resident memory. */
function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
}

/** Processor time that the process has used, user and system. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
