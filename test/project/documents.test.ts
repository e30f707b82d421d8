// What README.md and docs/ show is true of the program: help, codes, links, and the commands in their blocks.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { version } from "../../package.json";
import { EXIT } from "../../src/base/errors.ts";
import { type CommandName, COMMANDS, FLAGS, isCommand } from "../../src/input/flags.ts";
import { ERROR_CODES } from "../../src/proxy/error-response.ts";
import { anchorsOf, blocksOf, callsIn, linksOf, sectionOf } from "../harness/documents.ts";
import { lacks } from "../harness/needs.ts";
import { BINARY, CANARY_KEY, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";

const PAGES = ["*.md", "docs/**/*.md", "native/*.md", "contrib/**/*.md"]
  .flatMap((pages) => Array.from(new Bun.Glob(pages).scanSync(".")))
  .sort();
const pages = new Map(PAGES.map((page) => [page, readFileSync(page, "utf8")]));
const readme = pages.get("README.md")!;

test("the README can be read in two minutes, and used after its first screen", () => {
  const lines = readme.split("\n");
  expect(lines.length).toBeLessThanOrEqual(201);
  const screen = lines.slice(0, 40).join("\n");
  expect(screen).toContain("| responses-api-proxy run -- ");
  expect(screen).toContain("sudo apt install ./");
});

test("the README has --help verbatim", async () => {
  const { stdout } = await runProgram({ args: ["--help"] });
  expect(/```text\n([\s\S]*?)```/.exec(sectionOf(readme, "Options"))?.[1]).toBe(stdout);
});

test("every exit code has its row, and there is no other", () => {
  const rows = sectionOf(pages.get("docs/commands.md")!, "Exit codes").matchAll(/^\| (\d+) +\|/gm);
  expect([...rows].map(([, code]) => Number(code))).toEqual(Object.values(EXIT));
});

test("every page names this version of the program, and no other", () => {
  const named = [...pages].flatMap(([page, text]) =>
    page === "CHANGELOG.md"
      ? []
      : [...text.matchAll(/responses-api-proxy(?:-linux-x64)?[ /_-]v?(\d+\.\d+\.\d+)/g)].map(
          ([, found]) => found!,
        ),
  );
  expect(named.length).toBeGreaterThan(5);
  expect([...new Set(named)]).toEqual([version]);
  expect(pages.get("CHANGELOG.md")).toContain(`\n## ${version}\n`);
});

test("every error code that a client can get has its row", () => {
  for (const code of ERROR_CODES)
    expect(sectionOf(pages.get("docs/wire.md")!, "Errors")).toContain(`\`${code}\``);
});

describe.each(PAGES)("%s", (page) => {
  const text = pages.get(page)!;

  test("every link leads somewhere, and every file that it names exists", () => {
    for (const { path, anchor } of linksOf(text)) {
      const target = path === "" ? page : join(dirname(page), path);
      expect(existsSync(target), `${target} exists`).toBe(true);
      if (anchor !== undefined)
        expect(anchorsOf(readFileSync(target, "utf8")), `${target}#${anchor}`).toContain(anchor);
    }
    const named = [...text.matchAll(/`((?:src|native|test|docs|contrib|packaging)\/[\w/.-]+\.\w+)`/g)];
    expect(named.map(([, path]) => path!).filter((path) => !existsSync(path))).toEqual([]);
  });

  test("has no path of a developer's machine", () => {
    expect(text).not.toMatch(/\/(work|root)\//);
  });

  test.skipIf(lacks("bash"))("every shell block is valid (needs bash)", async () => {
    for (const block of blocksOf(text, "shell")) {
      const { exitCode, stderr } = await runProgram({
        binary: "bash",
        args: ["-n", "-c", block],
        env: { PATH: process.env["PATH"]! },
      });
      expect({ block, exitCode, stderr }).toEqual({ block, exitCode: 0, stderr: "" });
    }
  });

  test("calls the program with commands and flags that it has", () => {
    for (const block of [...blocksOf(text, "shell"), ...blocksOf(text, "yaml")])
      for (const { command, flags } of callsIn(block)) {
        if (command !== undefined && !isCommand(command)) expect(command).toMatch(/^(help|version)$/);
        const known = command === undefined ? FLAGS : COMMANDS[command as CommandName].args;
        const unknown = flags.filter((flag) => !(flag in known));
        expect({ block, unknown }).toEqual({ block, unknown: [] });
      }
  });

  test("calls scripts of package.json that exist", () => {
    const { scripts } = JSON.parse(readFileSync("package.json", "utf8"));
    const called = [...text.matchAll(/\bnpm run ([\w:]+)/g)].map(([, script]) => script!);
    expect(called.filter((script) => !(script in scripts))).toEqual([]);
  });
});

describe.skipIf(lacks("bash", "curl"))("the README's commands", () => {
  /**
   * Runs a block of the README with bash. The upstream is a stand-in, /run and NAME are ours, and `sudo` and `codex` are scripts: the latter
   * says its arguments.
   */
  async function run(block: string, upstream: RawUpstream, directory: string): Promise<string> {
    const bin = join(directory, "bin");
    mkdirSync(bin, { recursive: true });
    const user = Bun.spawnSync(["id", "-un"]).stdout.toString().trim();
    const scripts = {
      sudo: 'exec "$@"',
      codex: 'printf "%s\\n" "$@"; printenv',
      pass: `echo '${CANARY_KEY}'`,
      "responses-api-proxy": `case "$1" in run) shift; set -- run --upstream-url='${upstream.url}' "$@" ;; --*) set -- --upstream-url='${upstream.url}' "$@" ;; esac; exec '${BINARY}' "$@"`,
    };
    for (const [name, script] of Object.entries(scripts))
      writeFileSync(join(bin, name), `#!/bin/bash\n${script}\n`, { mode: 0o755 });
    const here = block
      .replaceAll("/run/responses-api-proxy", join(directory, "run"))
      .replaceAll(/\b(NAME|ann)\b/g, user);
    const { exitCode, stdout, stderr } = await runProgram({
      binary: "bash",
      args: ["--noprofile", "--norc", "-eo", "pipefail", "-c", here],
      env: { PATH: `${bin}:${process.env["PATH"]}`, HOME: directory, OPENAI_API_KEY: CANARY_KEY },
      cwd: directory,
    });
    if (exitCode !== 0) throw new Error(`it ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout;
  }
  const shells = blocksOf(readme, "shell");
  const [one, start, use] = ["run -- codex", "--background", "$(responses-api-proxy wait"].map((part) =>
    shells.find((block) => block.includes(part)),
  );

  test("one command: codex gets the provider's flags, a token and no key (needs bash, curl)", async () => {
    const stdout = await run(one!, new RawUpstream(), temporaryDirectory());
    expect(stdout).toContain("\nexec\nYour prompt here\n");
    expect(stdout).toMatch(/^model_provider=/m);
    expect(stdout).toMatch(/^OPENAI_API_KEY=\S+/m);
    expect(stdout).not.toContain(CANARY_KEY);
  });

  test("several users: the request that the guest sends has the key upstream (needs bash, curl)", async () => {
    const [upstream, directory] = [new RawUpstream(), temporaryDirectory()];
    const stop = `kill "$(sed 's/.*"pid"://; s/}//' '${join(directory, "run/server-info.json")}')"`;
    const base = await run(start!, upstream, directory);
    try {
      expect(base).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n$/);
      expect(await run(use!, upstream, directory)).toBe("ok");
    } finally {
      await run(stop, upstream, directory);
    }
    const [{ first, fields, body } = { first: "", fields: [], body: "" }] = upstream.requests;
    expect([first, body]).toEqual(["POST /v1/responses HTTP/1.1", '{"model":"gpt-5","input":"hi"}']);
    // The fields that docs/wire.md shows, in its order.
    const [, shown] = /```http\nPOST.*\n([\s\S]*?)\n\n/.exec(pages.get("docs/wire.md")!)!;
    expect(fields.map(([name]) => name)).toEqual(
      shown!.split("\n").map((line) => line.slice(0, line.indexOf(":")).toLowerCase()),
    );
    expect(fields).toContainEqual(["authorization", `Bearer ${CANARY_KEY}`]);
  });
});

test("what the README says of codex's memory is what the benchmark has measured", () => {
  const measured = /^\| copies of the key .*$/m.exec(pages.get("docs/benchmark.md")!)![0].split("|");
  const told = /^\| copies of the key in memory .*$/m.exec(readme)![0].split("|");
  const [ours, codex] = [measured[4]!.trim(), measured[5]!.trim()];
  expect(told[2]!.trim()).toStartWith(`${ours}, `);
  expect(told[4]!.trim()).toBe(codex);
});
