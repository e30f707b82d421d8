// What `npm run build:all` makes: programs for the right machines, in the right version, that start wherever they can be started here.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

import { version } from "../../package.json";
import { programOf } from "../../packaging/build.ts";
import { type Target, TARGETS } from "../../packaging/targets.ts";

const VERSION_LINE = `responses-api-proxy ${version} (Bun ${Bun.version})\n`;
const SMOKE = "forwards, refuses, ends";

/** What has to stand before a command line for another processor, and where its libraries are. */
const EMULATOR = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const output = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return output.join("");
}

/** Whether a program starts here at all, which takes its loader, its libraries and its processor. */
async function starts(...command: string[]): Promise<boolean> {
  return (await run(...command, "--version").catch(String)).includes("responses-api-proxy ");
}

// Before the tests are defined, because some are only for programs that start here.
await run("bun", "packaging/build.ts", "--all");
const commandOf = (target: Target): string[] => [
  ...(target.cpu === process.arch ? [] : EMULATOR),
  resolve(programOf(target)),
];
const startable = await Promise.all(TARGETS.map((target) => starts(...commandOf(target))));

describe.each(TARGETS.map((target, index) => [target.name, target, startable[index]!] as const))(
  "%s",
  (_name, target, startsHere) => {
    const program = resolve(programOf(target));

    test("is a program for that processor and that libc", () => {
      const header = readFileSync(program).subarray(0, 4096);
      expect(header.subarray(0, 5).toString("latin1")).toBe("\x7fELF\x02");
      // e_machine (elf(5)): EM_X86_64 or EM_AARCH64
      expect(header.readUInt16LE(18)).toBe(target.cpu === "x64" ? 62 : 183);
      expect(header.includes(target.libc === "musl" ? "/ld-musl-" : "/ld-linux-")).toBe(true);
    });

    test("has the checksum that SHA256SUMS says", async () => {
      const digest = new Bun.CryptoHasher("sha256").update(await Bun.file(program).bytes()).digest("hex");
      expect(readFileSync("dist/SHA256SUMS", "utf8")).toContain(
        `${digest}  responses-api-proxy-${target.name}\n`,
      );
    });

    const where = `(needs ${target.libc} on ${target.cpu})`;
    test.skipIf(!startsHere)(`starts ${where}`, async () => {
      expect(await run(...commandOf(target), "--version")).toBe(VERSION_LINE);
    });

    // Emulated, it lacks system calls that it serves with.
    if (target.cpu === process.arch)
      test.skipIf(!startsHere)(`serves ${where}`, async () => {
        expect(await run("bun", "packaging/smoke.ts", program)).toContain(SMOKE);
      });
  },
);
