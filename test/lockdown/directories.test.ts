// What else lies in the directories that the proxy may write to is told, and --strict refuses it: whoever takes the proxy over may write there.

import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const { url } = new RawUpstream();
const WARNING = "whoever takes the proxy over can write to what else lies in ";

const warnings = (stderr: string): string[] =>
  stderr
    .split("\n")
    .filter((line) => line.includes(WARNING))
    .map((line) => line.slice(line.indexOf(WARNING) + WARNING.length));

/** What a start with these flags warns of. */
async function startWith(...flags: string[]): Promise<string[]> {
  const proxy = await Proxy.start({ args: [`--upstream-url=${url}`, ...flags] });
  return warnings((await proxy.stop()).stderr);
}

describe("a directory with nothing but the proxy's files is no warning", () => {
  test("one that is missing, then empty, then with what a killed proxy left behind", async () => {
    const directory = join(temporaryDirectory(), "own");
    const flags = ["server-info", "client-token", "socket"].map(
      (flag) => `--${flag}=${join(directory, flag)}`,
    );
    expect(await startWith(...flags)).toEqual([]);
    expect(await startWith(...flags)).toEqual([]);
    for (const name of ["server-info", "client-token", ".0123456789abcdef", "log"])
      writeFileSync(join(directory, name), "");
    const log = [`--log-file=${join(directory, "log")}`, `--dump-dir=${join(directory, "dump")}`];
    const { stdout } = await runProgram({ args: ["doctor", `--upstream-url=${url}`, ...flags, ...log] });
    expect(stdout).toContain("seccomp");
    expect(stdout).not.toMatch(/^ {2}\S directories/m);
  });

  test("dumps of an earlier start, and what it had not finished when it was killed", async () => {
    const dump = join(temporaryDirectory(), "dump");
    const flag = `--dump-dir=${dump}`;
    const proxy = await Proxy.start({ args: [`--upstream-url=${url}`, flag] });
    await roundTrip(proxy.port, REQUEST);
    expect(warnings((await proxy.stop()).stderr)).toEqual([]);
    for (const name of ["000002-1-response.part", "000002-1-response.json.tmp"])
      writeFileSync(join(dump, name), "");
    expect(await startWith(flag)).toEqual([]);
  });
});

describe("another file in it", () => {
  const OTHERS: [what: string, make: (directory: string) => void][] = [
    ["a hidden one", (directory) => writeFileSync(join(directory, ".bashrc"), "")],
    ["a FIFO", (directory) => void Bun.spawnSync(["mkfifo", join(directory, "control")])],
    [
      "a socket",
      (directory) => {
        const path = join(directory, "control");
        const socket = Bun.listen({ unix: join(directory, "first"), socket: { data: () => {} } });
        // Bun removes the name that it knows.
        renameSync(join(directory, "first"), path);
        socket.stop();
      },
    ],
    ["a directory", (directory) => mkdirSync(join(directory, ".ssh"))],
    ["one whose name resembles a temporary one", (directory) => writeFileSync(join(directory, ".0123"), "")],
  ];
  test.each(OTHERS)("%s", async (_what, make) => {
    const directory = temporaryDirectory();
    make(directory);
    expect(await startWith(`--server-info=${join(directory, "info")}`)).toEqual([`'${directory}'`]);
  });

  test("whose name is that of a file of the proxy's, which lies elsewhere", async () => {
    const [directory, elsewhere] = [temporaryDirectory(), temporaryDirectory()];
    writeFileSync(join(directory, ".bashrc"), "");
    const flags = [
      `--upstream-url=${url}`,
      `--server-info=${join(directory, "info")}`,
      `--log-file=${join(elsewhere, ".bashrc")}`,
    ];
    const { stdout } = await runProgram({ args: ["doctor", "--json", ...flags] });
    expect(JSON.parse(stdout).checks).toContainEqual(
      expect.objectContaining({ id: "directories", found: `${WARNING}'${directory}'` }),
    );
  });

  test("of a dump's name, where no dumps go; and one beside the dumps", async () => {
    const [info, dump] = [temporaryDirectory(), temporaryDirectory()];
    chmodSync(dump, 0o700);
    chownSync(dump, process.getuid!(), process.getgid!());
    for (const [directory, name] of [
      [info, "000001-1-request.json"],
      [dump, "notes"],
    ] as const)
      writeFileSync(join(directory, name), "");
    expect(await startWith(`--server-info=${join(info, "info")}`, `--dump-dir=${dump}`)).toEqual([
      `'${info}', '${dump}'`,
    ]);
  });

  test("--strict refuses it, and doctor says so before", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, ".bashrc"), "");
    const flags = [`--upstream-url=${url}`, `--server-info=${join(directory, "info")}`, "--strict"];
    const { exitCode, stderr } = await runProgram({ args: flags, input: CANARY_KEY });
    expect(exitCode).toBe(11);
    expect(warnings(stderr)).toEqual([`'${directory}'`]);
    const verdict = JSON.parse((await runProgram({ args: ["doctor", "--json", ...flags] })).stdout);
    expect(verdict.startsStrictly).toBe(false);
    expect(verdict.checks).toContainEqual({
      id: "directories",
      status: "warning",
      found: `${WARNING}'${directory}'`,
      advice: expect.stringContaining("give its files a directory of their own"),
    });
  });
});
