// The manual page: groff has no complaint, and it names every command, flag, exit code and variable that the program has.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { manualPage } from "../../packaging/manual.ts";
import { EXIT } from "../../src/base/errors.ts";
import { KEPT } from "../../src/input/environment.ts";
import { COMMANDS, FLAGS, publicCommands } from "../../src/input/flags.ts";
import { PARENT, STARTER } from "../../src/input/starter.ts";
import { lacks } from "../harness/needs.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";

const SECTIONS = [
  "NAME",
  "SYNOPSIS",
  "DESCRIPTION",
  "COMMANDS",
  "OPTIONS",
  "EXIT STATUS",
  "ENVIRONMENT",
  "FILES",
  "SIGNALS",
  "EXAMPLES",
  "SECURITY",
  "SEE ALSO",
];

/** Formats a page as man(1) does, in lines that are not wrapped. */
async function shown(page: string): Promise<{ stdout: string; stderr: string }> {
  const file = join(temporaryDirectory(), "responses-api-proxy.1");
  writeFileSync(file, page);
  const env = { LC_ALL: "C.UTF-8", MANWIDTH: "1000" };
  const { stdout, stderr } = await runProgram({ binary: "man", args: ["--warnings", "-l", file], env });
  return { stdout, stderr };
}

/** The lines of a section, without their indentation. */
function section(text: string, title: string): string[] {
  const [, body = ""] = new RegExp(`^${title}\\n((?:(?! *\\n\\S).*\\n)*)`, "m").exec(text) ?? [];
  return body.split("\n").map((line) => line.trim());
}

describe.skipIf(lacks("man"))("the manual page (needs man)", () => {
  test("man(1) has no warning, and has one for a page that is wrong", async () => {
    expect((await shown(manualPage())).stderr).toBe("");
    expect((await shown(manualPage().replace(".SH FILES", ".SX FILES"))).stderr).toContain("SX");
  });

  test("has its sections, and no markup is left", async () => {
    const { stdout } = await shown(manualPage());
    expect([...stdout.matchAll(/^([A-Z ]+)$/gm)].map(([, title]) => title!)).toEqual(SECTIONS);
    expect(stdout).not.toMatch(/`|(?<!\w)_|_(?!\w)(?!\*)/);
  });

  test("names every command and flag, with its sentence", async () => {
    const { stdout } = await shown(manualPage());
    const [commands, options] = [section(stdout, "COMMANDS"), section(stdout, "OPTIONS")];
    for (const command of publicCommands()) {
      expect(
        section(stdout, "SYNOPSIS").some((line) => line.startsWith(`responses-api-proxy ${command} `)),
      ).toBe(true);
      for (const [flag, arg] of Object.entries(COMMANDS[command].args))
        if (arg.type !== "positional" && !(flag in FLAGS)) expect(commands.join("\n")).toContain(`--${flag}`);
    }
    expect(stdout).not.toContain("watch");
    for (const [flag, { description }] of Object.entries(FLAGS)) {
      const at = options.findIndex((line) => line.includes(`--${flag}`) && line.startsWith("-"));
      expect(at, flag).not.toBe(-1);
      expect(options.slice(at, at + 2).join(" "), flag).toContain(description);
    }
  });

  test("shows examples as they are typed", async () => {
    const examples = section((await shown(manualPage())).stdout, "EXAMPLES");
    expect(examples).toContain(
      "printenv OPENAI_API_KEY | responses-api-proxy run -- codex exec 'Your prompt here'",
    );
    expect(examples).toContain("printenv OPENAI_API_KEY | env -u OPENAI_API_KEY \\");
  });

  test("has every exit status, and every variable that is kept", async () => {
    const { stdout } = await shown(manualPage());
    const codes = section(stdout, "EXIT STATUS").flatMap((line) => /^\d+/.exec(line) ?? []);
    expect(codes.map(Number)).toEqual(Object.values(EXIT));
    const variables = section(stdout, "ENVIRONMENT").join("\n");
    for (const name of KEPT.filter((kept) => kept !== STARTER && kept !== PARENT))
      expect(variables).toMatch(new RegExp(`\\b${name}\\b`));
  });
});
