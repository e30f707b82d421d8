// `npm run build:all` makes a program for each target's processor, and those that this machine can run start and serve.

import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";

import { version } from "../../package.json";
import { compileAll, programOf } from "../../packaging/build.ts";
import digests from "../../packaging/digests.json";
import { digestsIn, GUIDE, RECIPE } from "../../packaging/digests.ts";
import { TARGETS } from "../../packaging/targets.ts";
import { lacks, type Need } from "../harness/needs.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";

const directory = temporaryDirectory();
beforeAll(() => compileAll(directory), 120_000);

/** Returns the loader that a program names in its header and cannot start without. */
const LOADERS: Record<string, string> = {
  "linux-x64": "/lib64/ld-linux-x86-64.so.2",
  "linux-x64-musl": "/lib/ld-musl-x86_64.so.1",
  "linux-arm64": "/lib/ld-linux-aarch64.so.1",
  "linux-arm64-musl": "/lib/ld-musl-aarch64.so.1",
};

/** In a single-byte locale grep(1) reads 110 MB several times as fast. */
const env = { ...process.env, LC_ALL: "C" };

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", cwd: "/", env });
  const output = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return output.join("");
}

describe.each(TARGETS.map((target) => [target.name, target] as const))("%s", (name, target) => {
  const program = programOf(target, directory);

  test("is a program for that processor and that libc", async () => {
    const header = Buffer.from(await Bun.file(program).slice(0, 4096).bytes());
    expect(header.subarray(0, 5).toString("latin1")).toBe("\x7fELF\x02");
    // e_machine (elf(5)): EM_X86_64 or EM_AARCH64
    expect(header.readUInt16LE(18)).toBe(target.cpu === "x64" ? 62 : 183);
    expect(header.includes(LOADERS[name]!)).toBe(true);
  });

  test("has that processor's system calls compiled in, whichever machine built it", async () => {
    const found = await run("grep", "--text", "--only-matching", "built for linux [a-z0-9]*", program);
    expect(new Set(found.trim().split("\n"))).toEqual(new Set([`built for linux ${target.cpu}`]));
  });

  test.skipIf(lacks(name as Need))(`starts and serves (needs ${name})`, async () => {
    expect(await run(program, "--version")).toBe(
      `responses-api-proxy ${version} (Bun ${Bun.version}, built for linux ${target.cpu})\n`,
    );
    const smoke = `${import.meta.dir}/../../packaging/smoke.ts`;
    expect(await run(process.execPath, smoke, program)).toContain("forwards, refuses, ends");
  });
});

test("SHA256SUMS lists them all, and sha256sum(1) agrees", async () => {
  const digestOf = async (path: string): Promise<string> =>
    new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
  const lines: string[] = [];
  for (const target of TARGETS)
    lines.push(`${await digestOf(programOf(target, directory))}  responses-api-proxy-${target.name}\n`);
  expect(readFileSync(`${directory}/SHA256SUMS`, "utf8")).toBe(lines.join(""));
  // As a user who has downloaded one of them.
  const [one] = TARGETS;
  const downloads = temporaryDirectory();
  for (const name of ["SHA256SUMS", `responses-api-proxy-${one!.name}`])
    symlinkSync(`${directory}/${name}`, `${downloads}/${name}`);
  const args = ["--check", "--strict", "--ignore-missing", "SHA256SUMS"];
  const { stdout } = await runProgram({ binary: "sha256sum", args, cwd: downloads, seconds: 60 });
  expect(stdout).toBe(`responses-api-proxy-${one!.name}: OK\n`);
});

// A build on another processor may have other bytes.
test.skipIf(lacks("linux-x64"))(
  "the programs have the bytes that the recipe and the action expect, or else: npm run digests (needs linux-x64)",
  () => {
    expect<Record<string, string>>(digests).toEqual(digestsIn(directory));
    expect(RECIPE.exec(readFileSync(GUIDE, "utf8"))?.[0]).toBe(digests["linux-x64"]);
  },
);
