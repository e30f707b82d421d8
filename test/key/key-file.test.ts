// --key-file: the key is read from that file, unless another user may read it or could have put it there.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { lacks } from "../harness/needs.ts";
import { CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const upstream = new RawUpstream();

/** A directory with a file `key` in it. */
function keyFile({ mode = 0o600, uid = process.getuid!(), key = `${CANARY_KEY}\n` } = {}): string {
  const directory = temporaryDirectory();
  const file = join(directory, "key");
  writeFileSync(file, key);
  chownSync(file, uid, process.getgid!());
  chmodSync(file, mode);
  return file;
}

async function serves(proxy: Proxy): Promise<void> {
  upstream.requests.length = 0;
  expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
  expect(upstream.requests[0]!.fields).toContainEqual(["authorization", `Bearer ${CANARY_KEY}`]);
}

const start = (file: string, more: Parameters<typeof Proxy.start>[0] = {}): Promise<Proxy> =>
  Proxy.start({
    ...more,
    args: [`--key-file=${file}`, `--upstream-url=${upstream.url}`, ...(more.args ?? [])],
  });

describe("the key is read from the file", () => {
  test("and not from standard input", async () => {
    const file = keyFile();
    const proxy = await start(file, { input: "sk-not-this-one\n" });
    await serves(proxy);
    expect((await proxy.stop()).stderr).not.toContain(CANARY_KEY);
  });

  test.skipIf(lacks("root"))("and no descriptor of it stays open (needs root)", async () => {
    const file = keyFile();
    const proxy = await start(file);
    const open = readdirSync(`/proc/${proxy.pid}/fd`).map((fd) =>
      readlinkSync(`/proc/${proxy.pid}/fd/${fd}`),
    );
    expect(open).toContain("/dev/null");
    expect(open).not.toContain(file);
  });

  test("with standard input closed", async () => {
    await serves(await start(keyFile(), { launcher: ["sh", "-c", 'exec "$0" "$@" <&-'] }));
  });

  test("relative to the directory the program was started in", async () => {
    await serves(await start("key", { cwd: join(keyFile(), "..") }));
  });

  test.skipIf(lacks("root"))("of root's, for another user to run on (needs root)", async () => {
    const directory = temporaryDirectory();
    chownSync(directory, ALICE, ALICE);
    const binary = reachableBinary(UNREADABLE);
    await serves(await start(keyFile({ mode: 0o400 }), { binary, args: [`--user=${ALICE}`] }));
  });

  test.skipIf(lacks("root"))(
    "of root's that a group may read, as a service manager hands out credentials (needs root)",
    async () => {
      await serves(await start(keyFile({ mode: 0o440 })));
    },
  );

  test("of an ordinary user's own", async () => {
    const file = keyFile({ uid: ORDINARY, mode: 0o400 });
    await serves(await start(file, { launcher: as(ORDINARY), binary: reachableBinary(UNREADABLE) }));
  });
});

describe("refused: one line, exit code 1", () => {
  const refused = async (file: string, launcher: string[] = [], binary?: string): Promise<string> => {
    const { exitCode, stderr } = await runProgram({
      args: [`--key-file=${file}`],
      launcher,
      ...(binary === undefined ? {} : { binary }),
    });
    expect(exitCode).toBe(1);
    expect(stderr).not.toContain(CANARY_KEY);
    const [first, ...rest] = stderr.split("\n");
    expect(rest.filter((line) => line !== "" && !line.startsWith("responses-api-proxy: hint: "))).toEqual([]);
    const start = `responses-api-proxy: error: cannot read --key-file '${file}': `;
    expect(first).toStartWith(start);
    return first!.slice(start.length);
  };

  test("no file, no directory", async () => {
    const directory = temporaryDirectory();
    expect(await refused(join(directory, "none"))).toBe("ENOENT");
    expect(await refused(join(directory, "none/key"))).toBe("ENOENT");
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a symlink, even to a good file", async () => {
    const file = keyFile();
    symlinkSync(file, join(file, "../link"));
    expect(await refused(join(file, "../link").replace("/key/..", ""))).toBe("it is a symlink");
  });

  test("a directory, a FIFO (not waited for), a device", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, "directory"));
    await Bun.spawn(["mkfifo", join(directory, "fifo")]).exited;
    expect(await refused(join(directory, "directory"))).toBe("it is a directory");
    expect(await refused(join(directory, "fifo"))).toBe("it is a FIFO");
    expect(await refused("/dev/null")).toBe("it is a device");
  });

  test.each([0o604, 0o602, 0o620, 0o666])("mode %o", async (mode) => {
    expect(await refused(keyFile({ mode }))).toBe("others may read or write it");
  });

  test("an empty one", async () => {
    const { exitCode, stderr } = await runProgram({ args: [`--key-file=${keyFile({ key: "" })}`] });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("has no key in it");
  });

  test.each([0o777, 0o775])("one in a directory that others may write in (%o)", async (mode) => {
    const file = keyFile();
    chmodSync(join(file, ".."), mode);
    expect(await refused(file)).toBe(`others may write to the directory ${join(file, "..")}`);
  });

  test("one that the user's own group may read", async () => {
    const file = keyFile({ uid: ORDINARY, mode: 0o640 });
    expect(await refused(file, as(ORDINARY), reachableBinary(UNREADABLE))).toBe(
      "others may read or write it",
    );
  });

  test.skipIf(lacks("root"))(
    "one of another user's, and one in another user's directory (needs root)",
    async () => {
      expect(await refused(keyFile({ uid: BOB }))).toEndWith(`/key is user ${BOB}'s`);
      const file = keyFile();
      chownSync(join(file, ".."), BOB, 0);
      expect(await refused(file)).toEndWith(` is user ${BOB}'s`);
    },
  );
});
