// On poor hosts: no null device, no list of users, no 127.0.0.1, few descriptors. A start says what it is, and so does doctor.

import { describe, expect, test } from "bun:test";
import { chmodSync, linkSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { compare, compareServing, inNamespace, type Report } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { type Answer, open, roundTrip } from "../harness/wire.ts";

const PREFIX = "responses-api-proxy: ";
const REQUEST = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi";

/** A /dev of its own with these devices, by a script of sh. */
function dev(devices: string, options = "mode=755"): string[] {
  return inNamespace(`mount -t tmpfs -o ${options} none /dev\n${devices}`);
}
const NULL = "mknod -m 666 /dev/null c 1 3";
const ZERO = "mknod -m 666 /dev/zero c 1 5";

/** A root directory with these options of tmpfs, and in it all that is in this machine's. */
function root(options: string): string[] {
  return inNamespace(`
    mount -t tmpfs -o ${options} none /mnt
    for path in /*; do
      if [ -L "$path" ]; then cp -P "$path" /mnt
      elif [ -d "$path" ] && [ "$path" != /mnt ]; then
        mkdir -m 755 "/mnt$path"; mount --rbind "$path" "/mnt$path"
      fi
    done
    PATH="$PATH:/usr/sbin:/sbin"; exec chroot /mnt "$0" "$@"`);
}

describe.skipIf(lacks("root", "mount namespaces"))("a host (needs root, mount namespaces)", () => {
  test("without /dev/zero: all holds", async () => {
    const { verdict } = await compare({ launcher: [...dev(NULL), ...as(ALICE)] });
    expect(verdict.starts).toBe(true);
    const byRoot = await compareServing({ launcher: dev(NULL) });
    expect(byRoot.verdict).toEqual({ starts: true, startsStrictly: true });
    expect(byRoot.stderr).toMatch(/sandbox landlock\(abi \d+\)\+seccomp/);
  });

  const BROKEN: [name: string, launcher: string[], user: string[], reason: string][] = [
    ["no /dev/null", dev(ZERO), [], "open: ENOENT"],
    ["a plain file in its place", dev("echo >/dev/null; chmod 666 /dev/null"), [], "open: ENODEV"],
    ["a plain file that is root's", dev("echo >/dev/null; chmod 644 /dev/null"), as(ALICE), "open: EACCES"],
    ["another device in its place", dev("mknod -m 666 /dev/null c 1 5"), [], "open: ENODEV"],
    ["a /dev without devices (nodev)", dev(`${NULL}; ${ZERO}`, "nodev,mode=755"), [], "open: EACCES"],
  ];
  test.each(BROKEN)("with %s: no start, and the file is named", async (_name, launcher, user, reason) => {
    const { started, verdict } = await compare({ launcher: [...launcher, ...user] });
    expect(verdict).toEqual({ starts: false, startsStrictly: false });
    expect(started.exitCode).toBe(1);
    const [error, hint, ...rest] = started.stderr.replaceAll(PREFIX, "").split("\n");
    expect(error).toBe(`error: /dev/null cannot be used (${reason})`);
    expect(hint).toStartWith("hint: the null device must be there");
    expect(rest).toEqual([""]);
  });

  test("without /etc/passwd and /etc/group: users are known by number", async () => {
    const bare = inNamespace("mount -t tmpfs -o mode=755 none /etc");
    const { verdict } = await compare({ launcher: bare, args: [`--user=${ALICE}`] });
    expect(verdict).toEqual({ starts: true, startsStrictly: true });
    expect((await compare({ launcher: [...bare, ...as(ALICE)] })).verdict.starts).toBe(true);
    for (const command of [[], ["doctor"]])
      expect(await runProgram({ launcher: bare, args: [...command, "--user=daemon"] })).toMatchObject({
        exitCode: 2,
        stderr: `${PREFIX}error: --user 'daemon' cannot be looked up: /etc/passwd has no users\n${PREFIX}hint: give the number of a user, e.g. --user=61234\n${PREFIX}hint: ${["responses-api-proxy", ...command].join(" ")} --help shows all flags\n`,
      });
  });

  const ROOTS: [name: string, options: string, found: string, why: string][] = [
    ["another user's", `mode=755,uid=${BOB}`, `/ is user ${BOB}'s`, `the directory / is user ${BOB}'s`],
    ["open to all", "mode=777", "others may write to /", "others may write to the directory /"],
  ];
  test.each(ROOTS)(
    "whose root directory is %s: what lies below can be exchanged, and is judged so",
    async (_name, options, found, why) => {
      const launcher = [...root(options), ...as(ALICE)];
      const path = `${temporaryDirectory()}/key`;
      const { of, verdict } = await compare({ launcher });
      expect(verdict).toEqual({ starts: true, startsStrictly: false });
      expect(of("file-owner")!.found).toContain(`can replace the program's file: ${found}`);
      for (const [flag, verb] of Object.entries({ "client-token": "write", "key-file": "read" })) {
        const args = [`--${flag}=${path}`];
        const { exitCode, stderr } = await runProgram({ launcher, binary: reachableBinary(), args });
        expect(stderr).toStartWith(`${PREFIX}error: cannot ${verb} --${flag} '${path}': ${why}\n`);
        expect(exitCode).toBe(1);
      }
    },
  );

  test("whose root directory is root's alone: the neighbour", async () => {
    const { of } = await compare({ launcher: [...root("mode=755"), ...as(ALICE)] });
    expect(of("file-owner")!.found).not.toContain(" / ");
  });

  test.skipIf(lacks("ip"))(
    "without 127.0.0.1: no start, and no word of --port, which is no help (needs ip)",
    async () => {
      const prepare = 'ip link set lo up; ip addr del 127.0.0.1/8 dev lo; exec "$0" "$@"';
      const launcher = ["unshare", "--net", "sh", "-ec", prepare];
      const [reason, hint] = [
        "cannot listen on 127.0.0.1:0: the interface lo does not have that address (EADDRNOTAVAIL)",
        "give the loopback interface its address: ip addr add 127.0.0.1/8 dev lo",
      ];
      const asked = await runProgram({
        launcher,
        args: ["doctor", "--json", "--upstream-url=http://[::1]:1"],
      });
      const { starts, startsStrictly, checks } = JSON.parse(asked.stdout) as Report;
      expect({ starts, startsStrictly }).toEqual({ starts: false, startsStrictly: false });
      expect(checks).toContainEqual({ id: "port", status: "fatal", found: reason, advice: hint });
      expect(await runProgram({ launcher, input: "sk-x\n" })).toMatchObject({
        exitCode: 1,
        stderr: `${PREFIX}error: ${reason}\n${PREFIX}hint: ${hint}\n`,
      });
    },
  );

  test("whose loopback interface is down: a start, and nobody to reach it", async () => {
    const proxy = await Proxy.start({ launcher: ["unshare", "--net"] });
    expect((await proxy.stop()).exitCode).toBe(0);
  });
});

describe("few descriptors", () => {
  const limited = (limit: number): string[] => ["prlimit", `--nofile=${limit}:${limit}`];

  test.each([12, 31])("%d: no start, and how many it takes", async (limit) => {
    const { started } = await compare({ launcher: limited(limit) });
    expect(started).toMatchObject({
      exitCode: 1,
      stderr: `${PREFIX}error: the limit on open files (RLIMIT_NOFILE) is ${limit}, and the proxy requires 32\n${PREFIX}hint: start it where ulimit -Hn shows 32 or more; each exchange takes two\n`,
    });
  });

  test("32: it serves", async () => {
    expect((await compare({ launcher: limited(32) })).verdict.starts).toBe(true);
    const upstream = new RawUpstream();
    const proxy = await Proxy.start({ launcher: limited(32), args: [`--upstream-url=${upstream.url}`] });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
  });

  // An exchange takes two. So with one connection more that waits, or without it, a client gets the last.
  test("none left for the upstream: 503, when to come again, and one line of warning", async () => {
    const messages: string[] = [];
    for (const waiting of [0, 1]) {
      const upstream = new RawUpstream({ answer: () => {} });
      const proxy = await Proxy.start({ launcher: limited(32), args: [`--upstream-url=${upstream.url}`] });
      for (let count = 0; count < waiting; count++) await open(proxy.port, "POST /v1");
      const refusal = Promise.withResolvers<Answer>();
      for (let sent = 1; sent <= 32; sent++) {
        void roundTrip(proxy.port, REQUEST).then(refusal.resolve, () => {});
        const arrived = (async () => {
          while (upstream.requests.length < sent) await Bun.sleep(2);
        })();
        if ((await Promise.race([arrived, refusal.promise])) !== undefined) break;
      }
      const answer = await refusal.promise;
      expect(answer.status).toBe(503);
      expect(answer.raw).toMatch(/\r\nretry-after: 1\r\n/i);
      const { error } = JSON.parse(answer.body);
      expect(error).toMatchObject({ type: "proxy_error", code: "overloaded" });
      messages.push(error.message);
      await proxy.waitForLine(/warning: no file descriptors left/);
    }
    expect(messages).toContain(
      "no file descriptor is left for a connection to the upstream (EMFILE); nothing was sent, try again later",
    );
  });
});

test.skipIf(lacks("root"))(
  "a file in a directory that its user cannot search: doctor says what it cannot see (needs root)",
  async () => {
    const closed = temporaryDirectory();
    mkdirSync(join(closed, "bin"));
    const binary = join(closed, "bin/responses-api-proxy");
    linkSync(reachableBinary(UNREADABLE), binary);
    chmodSync(closed, 0o700);
    const { of, verdict } = await compare({ launcher: [], binary, args: [`--user=${ALICE}`] });
    expect(verdict).toEqual({ starts: true, startsStrictly: true });
    const found = `not seen: ${binary} (EACCES)`;
    expect(of("file-owner")).toEqual({ id: "file-owner", status: "ok", found, advice: null });
  },
);
