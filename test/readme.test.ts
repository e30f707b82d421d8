// What README.md shows is what the program does.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { EXIT } from "../src/errors.ts";
import { runProgram } from "./harness/program.ts";

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
