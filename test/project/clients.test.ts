// docs/clients.md: what `run` sets, the lines that it shares with `run --print-env`, and the samples for the Unix socket, which are executed.

import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { blocksOf, sectionOf } from "../harness/documents.ts";
import { lacks } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, CANARY_KEY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { type ResponsesApi, startResponsesApi, WORDS } from "../harness/responses-api.ts";
import { runWith } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";

const page = readFileSync("docs/clients.md", "utf8");
const { stdout: printed } = await runProgram({ args: ["run", "--print-env"] });

describe("what run sets", () => {
  const cells = [...sectionOf(page, "What `run` sets").matchAll(/^\| (`[^|]*)\|/gm)].map(([, cell]) => cell!);
  const onPage = cells.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name!)).sort();

  test("is what COMMAND gets, and its PATH", async () => {
    const { stdout } = await runWith(new RawUpstream().url, ["env"]);
    const names = [...stdout.matchAll(/^(\w+)=/gm)].map(([, name]) => name!);
    const set = names.filter((name) => !(name in BARE_ENVIRONMENT));
    expect(set.length).toBeGreaterThan(0);
    expect(onPage).toEqual([...set, "PATH"].sort());
  });

  test("is what run --print-env says", () => {
    const [variables] = printed.split("Programs that look elsewhere");
    const names = [...variables!.matchAll(/^ {2}([A-Za-z_]+)(?:, ([A-Za-z_]+))? {2}/gm)];
    expect(names.flatMap(([, ...both]) => both.filter(Boolean)).sort()).toEqual(onPage);
  });

  test.each(["cline", "Codex SDK"])("the line for %s is that of run --print-env", (client) => {
    const [, line] = new RegExp(`^ {2}${client} {2,}(.*)$`, "m").exec(printed)!;
    expect(page).toContain(line!);
  });
});

describe("over the Unix socket", () => {
  const section = sectionOf(page, "Over the Unix socket");
  const [shell] = blocksOf(section, "shell");
  const scripts = blocksOf(section, "js");
  const SAMPLES: Record<string, [words: string[], sample: string | undefined]> = {
    curl: [["sh", "-c"], shell],
    Bun: [[process.execPath, "-e"], scripts.find((script) => script.includes("// Bun"))],
    node: [["node", "--input-type=module", "-e"], scripts.find((script) => script.includes("// Node"))],
  };
  const socket = join(temporaryDirectory(), "socket");
  let api: ResponsesApi;

  beforeAll(async () => {
    const authority = await makeAuthority();
    api = startResponsesApi({ tls: authority.server });
    const args = [`--socket=${socket}`, `--upstream-url=${api.url}`];
    await Proxy.start({ args, env: trust(authority, temporaryDirectory()) });
  });

  async function expectAnswer(client: string): Promise<void> {
    const [[binary, ...words], sample] = SAMPLES[client] as [[string, ...string[]], string];
    const here = sample.replaceAll("/run/responses-api-proxy/socket", socket);
    api.requests.length = 0;
    const env = { PATH: process.env["PATH"]! };
    const { stdout, exitCode } = await runProgram({
      binary,
      args: [...words, here],
      env,
      cwd: process.cwd(),
    });
    expect(stdout).toContain(WORDS.join(""));
    expect(exitCode).toBe(0);
    expect(api.requests.map(({ headers }) => headers.get("authorization"))).toEqual([`Bearer ${CANARY_KEY}`]);
  }

  test.skipIf(lacks("curl"))("curl (needs curl)", () => expectAnswer("curl"));
  test("Bun, with the SDK", () => expectAnswer("Bun"));
  test.skipIf(lacks("node"))("Node (needs node)", () => expectAnswer("node"));
});
