// docs/install.md: what it says of each kind of file is what doctor says there, and the files that it names are those of a release.

import { describe, expect, test } from "bun:test";
import { chownSync, existsSync, readFileSync } from "node:fs";

import { DEB_TARGETS, debOf } from "../../packaging/deb.ts";
import { TARGETS } from "../../packaging/targets.ts";
import type { Report } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { installedBinary, runProgram, type Start } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, reachableBinary, UNREADABLE } from "../harness/users.ts";

const upstream = new RawUpstream();
const guide = readFileSync("docs/install.md", "utf8");

test("every file that it links to exists", () => {
  const links = [...guide.matchAll(/\]\((?!#)([^)#]+)/g)].map(([, path]) => `docs/${path}`);
  expect(links.length).toBeGreaterThan(4);
  expect(links.filter((path) => !existsSync(path))).toEqual([]);
});

test("the files of a release that it names are there", () => {
  const programs = TARGETS.map((target) => `responses-api-proxy-${target.name}`);
  const named = [...guide.matchAll(/responses-api-proxy-linux-[\w-]+/g)].map(([name]) => name);
  expect(named).toContain("responses-api-proxy-linux-x64");
  expect(named.filter((name) => !programs.includes(name))).toEqual([]);
  const debs = DEB_TARGETS.map((target) => debOf(target, "."));
  expect(debs).toContain(/\.\/responses-api-proxy_\d\S+\.deb/.exec(guide)?.[0] ?? "");
});

/** What the table says does not hold for who is so described: the checks behind `!`. */
function gapsOf(who: string): string[] {
  const row = guide.split("\n").find((line) => line.startsWith(`| ${who} `));
  const cell = row?.split("|").at(-2)?.trim() ?? "";
  expect(cell).toMatch(/^(with `--user`: )?all/);
  return [...cell.matchAll(/`! ([a-z-]+)`/g)].map(([, id]) => id!);
}

/** Those that depend on the installation, not on the kernel. */
const INSTALLATION = ["file-readable", "file-owner", "memory-lock", "start"];

/** Which of them doctor finds wrong. */
async function found({ args = [], ...start }: Start): Promise<string[]> {
  const ended = await runProgram({
    ...start,
    args: ["doctor", "--json", `--upstream-url=${upstream.url}`, ...args],
  });
  const { checks } = JSON.parse(ended.stdout) as Report;
  return checks.filter(({ id, status }) => status !== "ok" && INSTALLATION.includes(id)).map(({ id }) => id);
}

describe.skipIf(lacks("root", "setcap"))("what holds, by doctor (needs root, setcap)", () => {
  const limited = ["prlimit", "--memlock=8388608:8388608"];

  test("root starts a file of root's, for another user", async () => {
    const start = { binary: reachableBinary(UNREADABLE), args: [`--user=${ALICE}`] };
    expect(await found(start)).toEqual(gapsOf("root starts it, on any Linux"));
  });

  test("another user starts it", async () => {
    const start = { binary: reachableBinary(UNREADABLE), launcher: [...limited, ...as(ALICE)] };
    expect(await found(start)).toEqual(gapsOf("another user starts that file"));
  });

  test("a group's member starts one with the capability", async () => {
    const binary = installedBinary(0o710);
    chownSync(binary, 0, ALICE);
    expect(Bun.spawnSync(["setcap", "cap_ipc_lock=ep", binary]).exitCode).toBe(0);
    const start = { binary, launcher: [...limited, ...as(ALICE)] };
    for (const who of ["a group's members start it", "on Debian 12, Ubuntu 22.04 or later"])
      expect(await found(start)).toEqual(gapsOf(who));
  });

  test("its users can read it, as npm and a build leave it", async () => {
    const start = { binary: reachableBinary(0o755), launcher: [...limited, ...as(ALICE)] };
    expect(await found(start)).toEqual(gapsOf("no root, with Node.js"));
  });
});
