// --key-file: the key is read from that file, unless another user may read it or could have put it, or a symlink on the way, there.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { openKeyFile } from "../../src/files/key-file.ts";
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

  test("through symlinks, relative and absolute, in any place", async () => {
    const file = keyFile();
    const directory = join(file, "..");
    symlinkSync(file, join(directory, "absolute"));
    symlinkSync(".", join(directory, "here"));
    symlinkSync("here/absolute", join(directory, "both"));
    await serves(await start(join(directory, "both")));
  });

  test.skipIf(lacks("root"))(
    "as Kubernetes mounts a secret: a sticky directory that everybody may write in, root's symlinks and file (needs root)",
    async () => {
      const volume = temporaryDirectory();
      chmodSync(volume, 0o3777);
      mkdirSync(join(volume, "..2026_11_27"), { mode: 0o755 });
      const file = join(volume, "..2026_11_27/key");
      writeFileSync(file, `${CANARY_KEY}\n`);
      // What fsGroup and defaultMode: 0440 make of it.
      chownSync(file, 0, ALICE);
      chmodSync(file, 0o440);
      symlinkSync("..2026_11_27", join(volume, "..data"));
      symlinkSync("..data/key", join(volume, "key"));
      const binary = reachableBinary(UNREADABLE);
      await serves(await start(join(volume, "key"), { launcher: as(ALICE), binary }));
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

  test("symlinks that lead nowhere, in circles, or to what is no file", async () => {
    const directory = join(keyFile(), "..");
    const link = (name: string, target: string): string => {
      symlinkSync(target, join(directory, name));
      return join(directory, name);
    };
    await Bun.spawn(["mkfifo", join(directory, "fifo")]).exited;
    expect(await refused(link("dangling", "none"))).toBe("ENOENT");
    expect(await refused(link("circle", "circle"))).toBe("ELOOP");
    expect(await refused(link("below", "key/key"))).toBe("ENOTDIR");
    expect(await refused(link("slash", "key/"))).toBe("ENOTDIR");
    expect(await refused(link("to-directory", "."))).toBe("it is a directory");
    expect(await refused(link("to-fifo", "fifo"))).toBe("it is a FIFO");
    expect(await refused(link("to-device", "/dev/null"))).toBe("it is a device");
  });

  test("a symlink to a file that others may read, or through a directory that they may write in", async () => {
    const file = keyFile();
    const [open, good] = [keyFile({ mode: 0o644 }), keyFile()];
    symlinkSync(open, join(file, "../to-open"));
    expect(await refused(join(file, "../to-open"))).toBe("others may read or write it");
    chmodSync(join(good, ".."), 0o777);
    symlinkSync(good, join(file, "../through-open"));
    expect(await refused(join(file, "../through-open"))).toBe(
      `others may write to the directory ${join(good, "..")}`,
    );
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
    expect(await refused(keyFile({ key: "" }))).toBe("it is empty");
    const { exitCode, stderr } = await runProgram({ args: [`--key-file=${keyFile({ key: "\n" })}`] });
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

  test.skipIf(lacks("root"))(
    "a symlink of another user's, to a good file, in the last place and on the way, even in a sticky directory (needs root)",
    async () => {
      const [file, sticky] = [keyFile(), temporaryDirectory()];
      chmodSync(sticky, 0o1777);
      for (const [name, target] of [
        ["key", file],
        ["directory", join(file, "..")],
      ] as const) {
        symlinkSync(target, join(sticky, name));
        lchownSync(join(sticky, name), BOB, BOB);
        const path = name === "key" ? join(sticky, name) : join(sticky, name, "key");
        expect(await refused(path)).toBe(`the symlink ${join(sticky, name)} is user ${BOB}'s`);
        lchownSync(join(sticky, name), 0, 0);
        await serves(await start(path));
      }
    },
  );
});

test.skipIf(lacks("root"))(
  "a symlink that is exchanged at any moment leads to a file that passes, or to none (needs root)",
  async () => {
    const directory = join(keyFile(), "..");
    writeFileSync(join(directory, "bad"), "sk-not-this-one\n", { mode: 0o600 });
    chownSync(join(directory, "bad"), BOB, BOB);
    symlinkSync("key", join(directory, "link"));
    const script = `cd '${directory}'; while :; do for to in bad key; do ln -s $to new; mv -T new link; done; done`;
    const exchanger = Bun.spawn(["sh", "-c", script], { stderr: "ignore" });
    try {
      const seen = new Set<string>();
      const end = performance.now() + 10_000;
      for (let tries = 0; (tries < 5_000 || seen.size < 2) && performance.now() < end; tries++)
        seen.add(tryToRead());
      expect([...seen].sort()).toEqual([CANARY_KEY, `the file ${directory}/bad is user ${BOB}'s`].sort());
    } finally {
      exchanger.kill("SIGKILL");
      await exchanger.exited;
    }

    /** Returns the key, or why there is none. */
    function tryToRead(): string {
      try {
        const fd = openKeyFile(join(directory, "link"));
        const key = readFileSync(fd, "utf8").trim();
        closeSync(fd);
        return key;
      } catch (error) {
        return (error as Error).message.replace(/^.*?': /, "");
      }
    }
  },
);

describe.skipIf(lacks("root", "mount namespaces"))(
  "a file that is a mount of its own, as Docker, Compose and Podman mount a secret (needs root, mount namespaces)",
  () => {
    const MESSAGE = "every process in this container can read the secret that the key comes from";
    /** Starts what comes after it with the file mounted over itself. */
    const mounted = (file: string): string[] => [
      "unshare",
      "--mount",
      "sh",
      "-c",
      `mount --bind '${file}' '${file}' && exec "$0" "$@"`,
      ...as(ALICE),
    ];
    const binary = reachableBinary(UNREADABLE);

    test("that everybody may read is accepted, and said", async () => {
      const file = keyFile({ mode: 0o444 });
      const proxy = await start(file, { launcher: mounted(file), binary });
      await serves(proxy);
      expect((await proxy.stop()).stderr).toContain(`responses-api-proxy: warning: ${MESSAGE}\n`);
    });

    test("that everybody may read is refused by --strict, also as standard input", async () => {
      const file = keyFile({ mode: 0o444 });
      for (const args of [["--strict", `--key-file=${file}`], ["--strict"]]) {
        const launcher = [...mounted(file), "sh", "-c", `exec "$0" "$@" < '${file}'`];
        const { exitCode, stderr } = await runProgram({ args, launcher, binary });
        expect(exitCode).toBe(11);
        expect(stderr).toContain(`responses-api-proxy: error: ${MESSAGE}\n`);
      }
    });

    test("that only its user may read is accepted without a word", async () => {
      const file = keyFile({ mode: 0o400, uid: ALICE });
      const proxy = await start(file, { launcher: mounted(file), binary });
      await serves(proxy);
      expect((await proxy.stop()).stderr).not.toContain(MESSAGE);
    });

    test.each([
      ["0446: others may write to it", 0o446, 0],
      ["0464: a group may write to it", 0o464, 0],
      ["0444 of the user's own, who could close it", 0o444, ALICE],
    ])("%s: refused", async (_, mode, uid) => {
      const file = keyFile({ mode, uid });
      const { exitCode, stderr } = await runProgram({
        args: [`--key-file=${file}`],
        launcher: mounted(file),
        binary,
      });
      expect(exitCode).toBe(1);
      expect(stderr).toContain("': others may read or write it\n");
    });
  },
);
