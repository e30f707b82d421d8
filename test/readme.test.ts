// What README.md shows is what the program does.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { EXIT } from "../src/errors.ts";
import { until } from "./harness/deadline.ts";
import { lacks } from "./harness/needs.ts";
import { BINARY, CANARY_KEY, isAlive, runProgram, temporaryDirectory } from "./harness/program.ts";

const readme = readFileSync("README.md", "utf8");
const section = (title: string): string =>
  new RegExp(`^## ${title}\\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, "m").exec(readme)?.[1] ?? "";

test("Usage is --help verbatim", async () => {
  const { stdout } = await runProgram({ args: ["--help"] });
  expect(/```text\n([\s\S]*?)```/.exec(section("Usage"))?.[1]).toBe(stdout);
});

test("every exit code has its row, and there is no other", () => {
  const rows = [...section("Usage").matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
  expect(rows).toEqual(Object.values(EXIT));
});

test("every error code a client can get has its row", () => {
  const errors = readFileSync("src/errors.ts", "utf8");
  const codes = [...(/export type ErrorCode =([^;]+);/.exec(errors)?.[1] ?? "").matchAll(/"(\w+)"/g)].map(
    ([, code]) => code!,
  );
  expect(codes.length).toBeGreaterThan(5);
  for (const code of codes) expect(section("Behaviour")).toContain(`\`${code}\``);
});

describe("Reading the code", () => {
  const listed = [...section("Reading the code").matchAll(/^((?:src|native)\/\S+)/gm)].map(
    ([, file]) => file!,
  );

  test("lists every file, and no other", () => {
    const files = [...new Bun.Glob("{src,native}/*.ts").scanSync(".")];
    expect(listed.toSorted()).toEqual(files.toSorted());
  });
});

test("speaks of itself alone: no path of a machine", () => {
  expect(readme).not.toMatch(/\/(work|root)\//);
});

describe("In GitHub Actions", () => {
  type Step = { name?: string; run?: string; if?: string };
  const [, block] = /```yaml\n([\s\S]*?)```/.exec(section("In GitHub Actions"))!;
  const steps = Bun.YAML.parse(block!) as Step[];
  const scriptOf = (name: string): string => steps.find((step) => step.name === name)!.run!;

  /** As a runner runs a step: with bash, until the script and everything that holds its output has ended. */
  async function step(name: string, env: Record<string, string>): Promise<string> {
    const args = ["--noprofile", "--norc", "-eo", "pipefail", "-c", scriptOf(name)];
    const { exitCode, stdout, stderr } = await runProgram({ binary: "bash", args, env });
    if (exitCode !== 0) throw new Error(`'${name}' ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout + stderr;
  }

  test.skipIf(lacks("bash", "curl", "jq"))(
    "the step that starts the proxy ends with the proxy serving, and the one that stops it leaves nothing (needs bash, curl, jq)",
    async () => {
      const temporary = temporaryDirectory();
      symlinkSync(BINARY, join(temporary, "responses-api-proxy"));
      const env = {
        PATH: `${temporary}:${process.env["PATH"]}`,
        HOME: temporary,
        RUNNER_TEMP: temporary,
        GITHUB_RUN_ID: "42",
      };
      const log = await step("Start the proxy", { ...env, OPENAI_API_KEY: CANARY_KEY });
      const { port, pid } = await Bun.file(join(temporary, ".codex/42.json")).json();
      expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(403);
      expect(log).toBe(`http://127.0.0.1:${port}\n`);
      const stopped = await step("Stop the proxy", env);
      expect(stopped).toContain(`listening on http://127.0.0.1:${port}`);
      expect(stopped).not.toContain(CANARY_KEY);
      await until(() => !isAlive(pid), "the proxy to end");
      expect(existsSync(join(temporary, ".codex/42.json"))).toBe(false);
    },
  );

  test("it is stopped whatever happened, and one step only has the key", () => {
    expect(steps.find(({ name }) => name === "Stop the proxy")!.if).toBe("always()");
    expect(block!.match(/secrets\./g)).toHaveLength(1);
  });
});
