// docs/operations.md has every message that the program can give, and no other: the texts are collected from the source.
//
// A message is every text of src/ and native/ with at least two words in it that is not a hint and not named below. So a new way to say something
// is seen, too. Texts that a message is made of stand in its row, or in rows of their own.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { EXIT } from "../../src/base/errors.ts";
import { ERROR_CODES } from "../../src/proxy/error-response.ts";
import { type Literal, literalsOf, normalised } from "../harness/literals.ts";

const DOCUMENT = "docs/operations.md";
const FILES = [...new Bun.Glob("{src,native}/**/*.ts").scanSync(".")].sort();

type Found = Literal & { file: string };

const isProse = (text: string): boolean => /\p{L}{2}.* .*\p{L}{2}/u.test(text);

/** What says something by its first argument, also if that is one word. */
const SAYS = /^(UserError|usageError|terminal\.(debug|info|warning|error)|unprotected|NoToken|Unacceptable)$/;

/** Hints follow their message in the log, and say themselves what to do. These have them as a value or return them. */
const HINT_NAMES = [
  "ADDRESS",
  "ADVICE",
  "ALLOW_LANDLOCK",
  "APART",
  "COMPLETE",
  "END",
  "FROM_ELSEWHERE",
  "HINTS",
  "ID_TOKEN_PERMISSION",
  "INSTALL",
  "KUBERNETES",
  "MORE",
  "PIPE_IT_IN",
  "advice",
  "hint",
  "hintFor",
  "hints",
  "hintsFor",
  "nothingCame",
  "pipeIn",
  "readableHints",
];

/** The first argument that is a hint, of functions that take hints one by one. */
const HINTS_FROM: Readonly<Record<string, number>> = {
  refuse: 1,
  refusal: 2,
  allOpen: 1,
  "hints.unshift": 0,
};

function isHint({ frames }: Found): boolean {
  return frames.some(
    ({ label, callee, place, bracket }, index) =>
      HINT_NAMES.includes(label) ||
      place >= (HINTS_FROM[callee] ?? Infinity) ||
      // new UserError(message, exitCode, [hint, …]) and the like.
      (bracket === "[" && /^(UserError|usageError|terminal\.warning)$/.test(frames[index - 1]!.callee)),
  );
}

/** What is no message, by its file, and by its text or by the constant, the function or the call that it stands in. */
const NO_MESSAGES: [why: string, file: RegExp, text?: RegExp | undefined, within?: RegExp][] = [
  ["the text of --help", /^src\/input\/(oidc\/)?flags\.ts$|^src\/input\/usage\.ts$/],
  ["--version", /^native\/ffi\/architecture\.ts$/],
  ["run --print-env", /^src\/commands\/run\/run\.ts$/, /^COMMAND's environment/],
  ["codex's flags, and the shim", /^src\/commands\/run\/codex\.ts$/, undefined, /^(fields|MARK|SCRIPT)$/],
  ["a bug: its text is withheld, and only its class is shown", /^native\//, undefined, /^Error$/],
  ["names of system calls", /^native\/sandbox\/seccomp\.ts$/],
  ["what a scanner expects next", /^src\/report\/json-scanner\.ts$/],
  ["HTTP, and not for a person", /^src\/(commands\/probe|server\/overload)\.ts$/, /HTTP\/1\.1/],
  ["systemctl status shows it", /^src\/report\/service-manager\.ts$/, /STATUS=/],
  ["a word that is put into messages", /./, /^(the upstream|the file|(request|access|ID) token)$/],
  [
    "an argument, which decides how the totals begin",
    /^src\/(run|report\/journal)\.ts$/,
    /^(at the end|so far)$/,
  ],
  ["to a client that is gone", /^src\/proxy\/failures\.ts$/, /^the client left$/],
];

function isNoMessage(
  { file, text, frames }: Found,
  [, files, texts, within]: (typeof NO_MESSAGES)[number],
): boolean {
  return (
    files.test(file) &&
    (texts === undefined || texts.test(text)) &&
    (within === undefined || frames.some(({ label, callee }) => within.test(label) || within.test(callee)))
  );
}

const isSaid = ({ text, frames }: Found): boolean => {
  const { callee, place } = frames.at(-1)!;
  return isProse(text) || (place === 0 && SAYS.test(callee) && /\p{L}/u.test(text));
};

const said = FILES.flatMap((file) =>
  literalsOf(readFileSync(file, "utf8")).map((literal): Found => ({ ...literal, file })),
).filter((literal) => isSaid(literal) && !isHint(literal));
const messages = said.filter((literal) => !NO_MESSAGES.some((rule) => isNoMessage(literal, rule)));

const page = readFileSync(DOCUMENT, "utf8");
/** The rows, as cells, of the tables whose first column has messages, or reasons that stand in messages. */
const rows = [...page.matchAll(/^\| (?:Message|Reason).*\n\|[ -|]+\n((?:\|.*\n)+)/gm)].flatMap(([, body]) =>
  body!
    .trim()
    .split("\n")
    .map((row) =>
      row
        .slice(1, -1)
        .split(" | ")
        .map((cell) => cell.trim()),
    ),
);
const documented = rows.flatMap(([cell]) =>
  [...cell!.matchAll(/`([^`]+)`/g)].map(([, text]) => normalised(text!)),
);

test("every message of the program has its row", () => {
  const missing = messages.filter(({ text }) => !documented.includes(text));
  expect(missing.map(({ file, line, text }) => `${file}:${line}: ${text}`)).toEqual([]);
  expect(new Set(messages.map(({ text }) => text)).size).toBeGreaterThan(200);
});

test("every message that has a row exists", () => {
  const texts = new Set(messages.map(({ text }) => text));
  expect(documented.filter((text) => !texts.has(text))).toEqual([]);
});

test("every row says what to do", () => {
  expect(rows.filter((cells) => cells.length < 3 || cells.at(-1) === "")).toEqual([]);
});

test("what is named as no message, and as a hint, is there", () => {
  for (const rule of NO_MESSAGES)
    expect(said.filter((literal) => isNoMessage(literal, rule)).length, rule[0]).toBeGreaterThan(0);
  const sources = FILES.map((file) => readFileSync(file, "utf8")).join("\n");
  for (const name of HINT_NAMES) expect(sources).toMatch(new RegExp(`\\b${name}\\b`));
});

test("every error code and every exit code is there", () => {
  for (const code of ERROR_CODES) expect(page).toContain(`\`${code}\``);
  const [, codes] = /^## Exit codes\n([\s\S]*?)^## /m.exec(page)!;
  for (const code of Object.values(EXIT)) expect(codes).toMatch(new RegExp(`\\b${code}\\b`));
});

describe("the scanner", () => {
  const textsOf = (source: string): string[] => literalsOf(source).map(({ text }) => text);

  test("finds strings and templates, with … for what varies", () => {
    expect(textsOf("f('a', \"b\", `c ${d} e ${f}${g}`)")).toEqual(["a", "b", "c … e …"]);
    expect(textsOf('`a ${x ? `b ${y}` : "c"} d`')).toEqual(["b …", "c", "a … d"]);
    expect(textsOf(String.raw`"it\'s" + "a\\" + 'b'`)).toEqual(["it's", "a\\", "b"]);
  });

  test("takes no comment and no regular expression for one", () => {
    expect(textsOf("// 'a'\n/* \"b\" */ x.replace(/[\"/]'/g, \"c\"); 4 / 2; (a) / b / 'd'")).toEqual([
      "c",
      "d",
    ]);
  });

  test("says so if it has lost its way", () => {
    expect(() => literalsOf("x = 'a\n'")).toThrow("a literal that does not end: 'a");
  });

  test("knows where a literal stands", () => {
    const [literal] = literalsOf("const A: Record<string, string> = { b: f(1, g('x')) };");
    const where = literal!.frames.map(({ label, callee, place }) => [label, callee, place]);
    expect(where).toEqual([
      ["A", "", 0],
      ["b", "", 0],
      ["", "f", 1],
      ["", "g", 0],
    ]);
  });
});
