// What the pages show as output is what the program prints today. Numbers, paths and names of users differ, and nothing else.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { blocksOf, sectionOf } from "../harness/documents.ts";
import { lacks } from "../harness/needs.ts";
import { BINARY, CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { OK, RawUpstream } from "../harness/upstream.ts";
import { as, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const commands = readFileSync("docs/commands.md", "utf8");
const log = readFileSync("docs/log-and-dump.md", "utf8");
const [sampleOfDoctor, sampleOfStatus, sampleOfWait] = ["`doctor`", "`status`", "`wait`"].map((name) => {
  const heading = commands.split("\n").find((line) => line.startsWith(`## ${name}`))!;
  return blocksOf(sectionOf(commands, heading.slice(3)), "text")[0]!;
}) as [string, string, string];

const neutral = (text: string): string =>
  text
    .replaceAll(/'?\/[\w/.-]+\/server-info\.json'?/g, "FILE")
    .replaceAll(/https?:\/\/[\w.:/-]+/g, "URL")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:]+Z/g, "TIME")
    .replaceAll(/\d+(\.\d+)*/g, "N");

/** The commands of a session with a shell, and what each printed. */
const sessionOf = (sample: string): string[][] =>
  [...sample.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, command, output]) => [command!, output!]);

test.skipIf(lacks("bash"))("status and wait (needs bash)", async () => {
  const [info, missing] = [1, 2].map(() => join(temporaryDirectory(), "server-info.json")) as [
    string,
    string,
  ];
  const proxy = await Proxy.start({
    args: [`--upstream-url=${new RawUpstream().url}`, `--server-info=${info}`],
  });
  const shown = [...sessionOf(sampleOfStatus), ...sessionOf(sampleOfWait)];
  expect(shown).toHaveLength(4);
  for (const [command, output] of shown) {
    const here = command!
      .replaceAll(/\/run\S+\/server-info\.json/g, command!.includes(" wait ") ? missing : info)
      .replaceAll("responses-api-proxy ", `'${BINARY}' `)
      .replace(/kill -9 \d+/, `kill -9 ${proxy.pid}`);
    const { stdout, stderr } = await runProgram({ binary: "bash", args: ["-c", here] });
    expect(neutral(stdout + stderr)).toBe(neutral(output!));
  }
});

test("doctor: what holds here is said as the page says it", async () => {
  // As it is installed: an ordinary user starts it, and cannot read it.
  const [launcher, binary] = [as(ORDINARY), reachableBinary(UNREADABLE)];
  const { stdout } = await runProgram({
    launcher,
    binary,
    args: ["doctor", `--upstream-url=${new RawUpstream().url}`],
  });
  const checksIn = (output: string): Map<string, string> => {
    const joined = output.replaceAll(/\n {20}/g, " ");
    return new Map(
      [...joined.matchAll(/^ {2}✓ (\S+) +(.*)$/gm)].map(([, id, text]) => [id!, neutral(text!)]),
    );
  };
  const [here, shown] = [checksIn(stdout), checksIn(sampleOfDoctor)];
  // The variables in force, and the owner of the file, are the tester's.
  const compared = [...here.keys()].filter(
    (id) => shown.has(id) && id !== "environment" && id !== "file-owner",
  );
  expect(compared.length).toBeGreaterThan(6);
  for (const id of compared) expect([id, here.get(id)]).toEqual([id, shown.get(id)]);
  const idsIn = (output: string): string[] =>
    [...output.matchAll(/^ {2}[✓!✗] (\S+)/gm)].map(([, id]) => id!).sort();
  expect(idsIn(stdout)).toEqual(idsIn(sampleOfDoctor));
});

test("log: the lines of a session at debug", async () => {
  const upstream = new RawUpstream();
  const proxy = await Proxy.start({ args: [`--upstream-url=${upstream.url}`, "--log-level=debug"] });
  await roundTrip(proxy.port, REQUEST);
  await proxy.waitForLine(/#1 .*: done/);
  await roundTrip(proxy.port, REQUEST);
  await proxy.waitForLine(/#2 .*: done/);
  await fetch(`${proxy.baseUrl}/v1/models`);
  upstream.answer = (connection) => connection.write(`${OK.split("\r\n\r\n")[0]}\r\n\r\no`);
  const leaving = new AbortController();
  const response = await fetch(`${proxy.baseUrl}/v1/responses`, {
    method: "POST",
    body: "hi",
    signal: leaving.signal,
  });
  expect(response.status).toBe(200);
  leaving.abort();
  await proxy.waitForLine(/#3 .*: client left/);
  const { stderr } = await proxy.stop();
  expect(stderr).not.toContain(CANARY_KEY);
  // Which protections hold, and what a warning says of those that do not, is the machine's.
  const linesOf = (text: string): string[] =>
    text.split("\n").filter((line) => line !== "" && !/ (protections|warning|hint): /.test(line));
  const [shown] = blocksOf(sectionOf(log, "Log"), "text");
  expect(linesOf(stderr).map(neutral)).toEqual(linesOf(shown!).map(neutral));
});
