// From a file that its user can read, the program runs from a nameless copy: on a disk, which costs no memory, or else in
// memory.

import { describe, expect, test } from "bun:test";
import { chownSync, closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { libc } from "../../native/ffi/libc.ts";
import { landlockAbi } from "../../native/sandbox/landlock.ts";
import { inNamespace, onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { installedBinary, Proxy } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, reachableBinary } from "../harness/users.ts";
import { roundTrip } from "../harness/wire.ts";

const REQUEST = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi";
const IN_MEMORY = "/memfd:responses-api-proxy (deleted)";
const upstream = new RawUpstream();

/** Starts the program and returns the file that it runs from, and how much of that is in memory only. */
async function imageOf(binary: string, launcher: string[]): Promise<{ image: string; shmemKb: number }> {
  const proxy = await Proxy.start({ binary, launcher, args: [`--upstream-url=${upstream.url}`] });
  expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
  const image = readlinkSync(`/proc/${proxy.pid}/exe`);
  expect(statSync(`/proc/${proxy.pid}/exe`).mode & 0o7777).toBe(0o111);
  if (image === IN_MEMORY) expect(sealsOf(`/proc/${proxy.pid}/exe`) & ALL_SEALS).toBe(ALL_SEALS);
  const status = readFileSync(`/proc/${proxy.pid}/status`, "utf8");
  const { stderr } = await proxy.stop();
  expect(stderr).toContain("protections: not dumpable from exec, ");
  // The sandbox is complete wherever the copy lies.
  if (landlockAbi() > 0) expect(stderr).toContain(`sandbox landlock(abi ${landlockAbi()})+seccomp`);
  expect(stderr).toContain("could have taken over the pipe that the key comes through");
  return { image, shmemKb: Number(/^RssShmem:\s+(\d+) kB$/m.exec(status)![1]) };
}

/** Returns F_GET_SEALS (fcntl(2)): which changes of a file in memory the kernel refuses. */
function sealsOf(path: string): number {
  const fd = openSync(path, "r");
  const seals = libc.fcntl(fd, 1034, 0n);
  closeSync(fd);
  return seals;
}

/** F_SEAL_SEAL, SHRINK, GROW and WRITE; the kernel may add others. */
const ALL_SEALS = 0xf;

/** Returns a binary that belongs to the user who starts it, as after npx. */
function ownBinary(): string {
  const binary = installedBinary(0o755);
  for (const path of [binary, dirname(binary)]) chownSync(path, ALICE, ALICE);
  return binary;
}

describe.skipIf(lacks("root"))("the copy (needs root)", () => {
  test.skipIf(lacks("temporary files on a disk"))(
    "lies beside a program that is the user's own, and leaves nothing there (needs temporary files on a disk)",
    async () => {
      const binary = ownBinary();
      const { image, shmemKb } = await imageOf(binary, as(ALICE));
      expect(image).toMatch(new RegExp(`^${dirname(binary)}/#\\d+ \\(deleted\\)$`));
      expect(shmemKb).toBeLessThan(1024);
      expect(readdirSync(dirname(binary))).toEqual(["responses-api-proxy"]);
    },
  );

  test.skipIf(lacks("temporary files on a disk"))(
    "lies in /var/tmp if the program's directory is another's (needs temporary files on a disk)",
    async () => {
      const { image, shmemKb } = await imageOf(reachableBinary(), as(ALICE));
      expect(image).toMatch(/^\/var\/tmp\/#\d+ \(deleted\)$/);
      expect(shmemKb).toBeLessThan(1024);
    },
  );

  const NO_DISK: [name: string, launcher: () => string[]][] = [
    ["nothing may be executed", () => inNamespace("mount -t tmpfs -o noexec,mode=1777 none /var/tmp")],
    ["there is no room", () => inNamespace("mount -t tmpfs -o size=1m,mode=1777 none /var/tmp")],
    ["the user may not write", () => inNamespace("mount -t tmpfs -o mode=755 none /var/tmp")],
  ];
  test.skipIf(lacks("mount namespaces")).each(NO_DISK)(
    "lies in memory if in /var/tmp %s (needs mount namespaces)",
    async (_name, launcher) => {
      const found = await imageOf(reachableBinary(), [...launcher(), ...as(ALICE)]);
      expect(found.image).toBe(IN_MEMORY);
      expect(found.shmemKb).toBeGreaterThan(10_000);
    },
  );

  test("lies in memory if the one on a disk is not executed after all", async () => {
    const launcher = [...onKernel({ execveat: "once EACCES" }), ...as(ALICE)];
    expect((await imageOf(ownBinary(), launcher)).image).toBe(IN_MEMORY);
  });
});
