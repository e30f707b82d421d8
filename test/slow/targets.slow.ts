// What `npm run build:all` makes: programs for the right machines, in the right version, that start wherever they can be started here.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

import { version } from "../../package.json";
import { programOf } from "../../packaging/build.ts";
import { TARGETS } from "../../packaging/targets.ts";

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

/** Whether a program starts at all, which takes its loader, its libraries and its processor; a start that cannot be had is said. */
async function starts(...command: string[]): Promise<boolean> {
  const output = await run(...command, "--version").catch((error: unknown) => String(error));
  if (!output.includes("responses-api-proxy "))
    console.error(`${command.join(" ")} does not start here: skipped`);
  return output.includes("responses-api-proxy ");
}

beforeAll(async () => {
  await run("bun", "packaging/build.ts", "--all");
});

describe.each(TARGETS.map((target) => [target.name, target] as const))("%s", (_name, target) => {
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

  test("starts and serves, where it starts here", async () => {
    if (target.cpu !== process.arch) {
      if (!existsSync(EMULATOR[2]!) || !(await starts(...EMULATOR, program))) return;
      expect(await run(...EMULATOR, program, "--version")).toBe(VERSION_LINE);
      return;
    }
    if (!(await starts(program))) return;
    expect(await run(program, "--version")).toBe(VERSION_LINE);
    expect(await run("bun", "packaging/smoke.ts", program)).toContain(SMOKE);
  });
});
