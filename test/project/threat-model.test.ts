// What docs/threat-model.md and native/README.md promise is tested: every test that they name exists, and each attacker has one.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";

const PAGE = "docs/threat-model.md";
const text = readFileSync(PAGE, "utf8");

/** A test as the documents name it: its file below test/, and the beginning of its name or of its describe's; all of the file without one. */
type Named = { file: string; name: string | undefined };

/** The tests that a text names: `lockdown/secrecy: "one", "another"; lockdown/copy`. Code and links are not looked at. */
function testsIn(document: string): Named[] {
  const prose = document.replace(/`[^`\n]*`|\]\([^)]*\)/g, "");
  const folders = [...new Bun.Glob("*/").scanSync({ cwd: "test", onlyFiles: false })].join("|");
  const files = prose.matchAll(
    new RegExp(`(?<![\\w/])((?:${folders})/[\\w-]+)(?!/|\\.\\w)((?:[:,]\\s+"[^"]+")*)`, "g"),
  );
  return [...files].flatMap(([, file, names]): Named[] => {
    const quoted = [...names!.matchAll(/"([^"]+)"/g)].map(([, name]) => ({ file: file!, name: name! }));
    return quoted.length > 0 ? quoted : [{ file: file!, name: undefined }];
  });
}

/** `test("name",`, `test.skipIf(…)("name",`: a call of test, of describe, or of what they return. */
const NAME = /(?:\b(?:test|describe)(?:\.\w+)*|\))\(\s*(["'`])((?:(?!\1)[^\\]|\\.)*)\1,/g;

/** The names of a file's tests and describes; undefined if there is no such file. */
function namesIn(file: string): string[] | undefined {
  const path = [`test/${file}.test.ts`, `test/${file}.slow.ts`].find((one) => existsSync(one));
  if (path === undefined) return undefined;
  return [...readFileSync(path, "utf8").matchAll(NAME)].map(([, , name]) => name!.replaceAll(/\\(.)/g, "$1"));
}

const isThere = ({ file, name }: Named): boolean =>
  namesIn(file)?.some((one) => name === undefined || one.startsWith(name)) ?? false;

describe.each([
  [PAGE, 80],
  ["native/README.md", 30],
])("%s", (document, least) => {
  test("every test that it names exists", () => {
    const named = testsIn(readFileSync(document, "utf8"));
    expect(named.length).toBeGreaterThan(least);
    expect(named.filter((one) => !isThere(one))).toEqual([]);
  });
});

test("a test that is not there is noticed: another file, another name, a text that is no name", () => {
  const [right, file, name, message] = testsIn(
    'lockdown/secrecy: "every door is closed to the same user"; lockdown/secrets; key/key: "nothing of the kind"; lockdown/secrecy: "strace"',
  );
  expect([right, file, name, message].map((one) => isThere(one!))).toEqual([true, false, false, false]);
});

describe("attackers", () => {
  const rows = [...text.matchAll(/^\| \*\*([A-Z])\*\* +\| ([^|]+?) +\|/gm)];
  const sections = new Map(
    [...text.matchAll(/^### ([A-Z]): .*\n([^]*?)(?=^##)/gm)].map(([, letter, body]) => [letter!, body!]),
  );

  test("each has a row and a section, and no other has", () => {
    expect(rows.length).toBeGreaterThan(8);
    expect([...sections.keys()]).toEqual(rows.map(([, letter]) => letter!));
  });

  test("each has a test", () => {
    for (const [letter, body] of sections) expect(testsIn(body).length, letter).toBeGreaterThan(0);
  });

  test("those of native/README.md are the same", () => {
    const native = [...readFileSync("native/README.md", "utf8").matchAll(/^- \*\*([A-Z])\*\*: /gm)];
    expect(native.length).toBeGreaterThan(5);
    for (const [, letter] of native) expect(sections.has(letter!), letter).toBe(true);
  });
});
