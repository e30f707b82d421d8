// The scanner accepts what JSON.parse accepts, however the bytes are cut into pieces.

import { describe, expect, test } from "bun:test";

import { JsonScanner } from "../../src/report/json-scanner.ts";

/** Whether the scanner accepts the text as JSON, in pieces of `size` bytes. */
function scans(text: string, size: number): boolean {
  const bytes = Buffer.from(text);
  const scanner = new JsonScanner();
  for (let at = 0; at < bytes.length; at += size)
    if (!scanner.push(bytes.subarray(at, at + size))) return false;
  return scanner.end();
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const TEXTS: string[] = [
  "",
  " ",
  "0",
  "-0",
  "00",
  "01",
  "1.",
  ".5",
  "1.5e+10",
  "1e",
  "1e+",
  "-",
  "+1",
  "--1",
  "1-1",
  "1 2",
  "NaN",
  "true",
  "tru",
  "truee",
  "True",
  "null",
  "nul",
  "false",
  "false ",
  "\t\r\n null \n",
  "\f1",
  "\u00a01",

  '"',
  '""',
  '"a',
  '"\\"',
  '"\\""',
  '"\\u00e9"',
  '"\\u00g9"',
  '"\\u00"',
  '"\\x"',
  '"\n"',
  '"\u0000"',
  '"é\u2028"',

  "[",
  "]",
  "[]",
  "[ ]",
  "[1",
  "[1,",
  "[1,]",
  "[,1]",
  "[1 2]",
  "[1]]",
  "[[1],[2,[3]]]",
  "[1}",
  "[tru]",
  "[01]",

  "{",
  "}",
  "{}",
  "{ }",
  '{"a"}',
  '{"a":}',
  '{"a":1',
  '{"a":1,}',
  '{"a":1,"a":2}',
  "{a:1}",
  "{1:1}",
  '{"a":1]',

  '{"a":{"b":[true,null,-1.5e-3,"x { , : \\" \\\\"]}} ',
  '{"a" : 1 , "b":[ ]}',
  "[1]x",
  '{"a":1}{"b":2}',
  '["a":1]',

  'data: {"a":1}\n\n',
  "\ufeff{}",
  "'a'",
  "/* */1",
  "[1,/**/2]",
  "Infinity",
  "-Infinity",
  "1e999",
  "9".repeat(400),
];

describe.each([1, 2, 3, 1000])("in pieces of %d bytes", (size) => {
  test.each(TEXTS)("%j", (text) => {
    expect(scans(text, size)).toBe(parses(text));
  });
});

test("thousands of texts with a random error", () => {
  // A seeded generator, so that a failing text comes again.
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const letters = '{}[]",:\\ntruefals0123456789.-+eE u\n';
  for (let count = 0; count < 20_000; count++) {
    const text = [...TEXTS[random(TEXTS.length)]!];
    for (let slips = random(3); slips >= 0; slips--)
      text.splice(random(text.length + 1), random(2), letters[random(letters.length)]!);
    expect(scans(text.join(""), 1 + random(5)), text.join("")).toBe(parses(text.join("")));
  }
});

test("nested deeper than its limit is not accepted", () => {
  expect(scans(`${"[".repeat(10_000)}${"]".repeat(10_000)}`, 1000)).toBe(true);
  expect(scans(`${"[".repeat(10_001)}${"]".repeat(10_001)}`, 1000)).toBe(false);
});
