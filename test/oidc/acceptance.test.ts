// What of the two hosts' answers is accepted, as tables: the bytes of JSON objects, tokens, types and lives.

import { describe, expect, test } from "bun:test";

import { endOf, errorCodeIn, secretIn } from "../../src/key/oidc/acceptance.ts";
import { insideQuotes, membersOf, textAt } from "../../src/key/oidc/members.ts";
import { inWords } from "../../src/key/oidc/words.ts";

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** The members as written, or undefined. */
function members(text: string): Record<string, string> | undefined {
  const bytes = bytesOf(text);
  const found = membersOf(bytes);
  return found && Object.fromEntries([...found].map(([name, span]) => [name, textAt(bytes, span)]));
}

describe("the members of an object", () => {
  const OBJECTS: [text: string, members: Record<string, string>][] = [
    ["{}", {}],
    [' \r\n\t{ "a" : "b" } \n', { a: '"b"' }],
    ['{"a":"b","c":1,"d":null}', { a: '"b"', c: "1", d: "null" }],
    ['{"a":1 ,"b":2\n}', { a: "1", b: "2" }],
    [
      '{"a":"}\\",{","b":{"c":[1,{"d":"]"}],"value":"x"},"e":[]}',
      {
        a: '"}\\",{"',
        b: '{"c":[1,{"d":"]"}],"value":"x"}',
        e: "[]",
      },
    ],
    ['{"a":"\\\\","b":""}', { a: '"\\\\"', b: '""' }],
    // Another name than "a", for it is compared as it is written.
    ['{"\\u0061":1,"a":2}', { "\\u0061": "1", a: "2" }],
    ['{"a":[1, 2 ,3] }', { a: "[1, 2 ,3]" }],
  ];
  test.each(OBJECTS)("%s", (text, expected) => {
    expect(members(text)).toEqual(expected);
    // What it accepts, JSON.parse does, too, with the same values.
    const parsed = JSON.parse(text) as Record<string, unknown>;
    for (const [name, value] of Object.entries(expected))
      if (!name.startsWith("\\")) expect(JSON.parse(value)).toEqual(parsed[name]);
  });

  const OTHERS = [
    "",
    "nope",
    "[]",
    '"a"',
    "{",
    '{"a"',
    '{"a":',
    '{"a":}',
    '{"a":"b',
    '{"a":"b\\"}',
    '{"a":"b"',
    '{"a":"b",}',
    '{,"a":"b"}',
    '{"a":"b" "c":"d"}',
    '{"a" "b"}',
    "{a:1}",
    '{"a":[1}',
    '{"a":{"b":1}',
    '{"a":"b"}}',
    '{"a":"b"} {"c":"d"}',
    '{"a":"b","a":"c"}',
    '{"a":1,"b":2,"a":1}',
  ];
  test.each(OTHERS)("none: %s", (text) => {
    expect(members(text)).toBeUndefined();
  });

  test("only a string has an inside", () => {
    const bytes = bytesOf('{"a":"b","c":1}');
    const found = membersOf(bytes)!;
    expect(textAt(bytes, insideQuotes(bytes, found.get("a")!)!)).toBe("b");
    expect(insideQuotes(bytes, found.get("c")!)).toBeUndefined();
  });

  test("1,000 objects that JSON.stringify wrote, cut off anywhere: whole or nothing", () => {
    for (let count = 0; count < 1000; count++) {
      const object = {
        v: 'x"\\{}[],:'.repeat(count % 5),
        n: [count, { v: "y" }],
        value: `t.${count}`,
        z: null,
      };
      const text = JSON.stringify(object, null, count % 3);
      const cut = text.slice(0, count % text.length);
      expect(members(text)).toEqual(
        Object.fromEntries(Object.keys(object).map((name) => [name, expect.any(String)])),
      );
      expect(members(text)!["value"]).toBe(`"t.${count}"`);
      expect(members(cut), cut).toBeUndefined();
    }
  });
});

describe("a token", () => {
  const secret = (text: string): string => {
    const bytes = bytesOf(text);
    return textAt(bytes, secretIn(bytes, membersOf(bytes), "value"));
  };
  test.each(["a", "aaa.bbb-_.c", "a+/~==", "x".repeat(10_000)])("%s", (token) => {
    expect(secret(`{"value":"${token}"}`)).toBe(token);
    expect(secret(`{"count":7,"value":"${token}","other":{"value":"no"}}`)).toBe(token);
  });

  const NO_OBJECT = 'its answer is no JSON object with one "value" in it';
  const NO_TOKEN = 'its "value" is no bearer token (RFC 6750 b64token)';
  test.each([
    ["<html>qqqq</html>", NO_OBJECT],
    ["{}", NO_OBJECT],
    ['{"Value":"qqqq"}', NO_OBJECT],
    ['{"value":1}', NO_OBJECT],
    ['{"value":["qqqq"]}', NO_OBJECT],
    ['{"value":"qqqq","value":"qqqq"}', NO_OBJECT],
    ['{"other":{"value":"qqqq"}}', NO_OBJECT],
    ['{"value":""}', NO_TOKEN],
    ['{"value":"="}', NO_TOKEN],
    ['{"value":"qq qq"}', NO_TOKEN],
    ['{"value":"qq\\u0071"}', NO_TOKEN],
    ['{"value":"qq\\nqq"}', NO_TOKEN],
    ['{"value":"qq\nqq"}', NO_TOKEN],
    ['{"value":"qqé"}', NO_TOKEN],
  ])("none: %s", (text, message) => {
    expect(() => secret(text)).toThrow(message);
    expect(message).not.toContain("qq");
  });
});

describe("the life of a token", () => {
  const NOW = 1_800_000_000_500;
  const end = (changes: Record<string, unknown>): number => {
    const good = {
      access_token: "t",
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: "Bearer",
      expires_in: 60,
      expires_at: 1_800_000_100,
    };
    const bytes = bytesOf(JSON.stringify({ ...good, ...changes }));
    return endOf(bytes, membersOf(bytes)!, NOW) - NOW;
  };
  test.each([
    [{}, 60_000],
    [{ token_type: "bearer" }, 60_000],
    [{ token_type: "BEARER" }, 60_000],
    [{ expires_in: 1 }, 1000],
    [{ expires_in: 3600 }, 99_500],
    [{ expires_in: 3600, expires_at: 9_999_999_999 }, 3_600_000],
    [{ expires_at: 1_800_000_001 }, 500],
    [{ scope: "x", expires_in: 99 }, 99_000],
  ])("the nearer end counts: %j", (changes, ms) => {
    expect(end(changes)).toBe(ms);
  });

  const SECONDS = 'its token has no "expires_in" and "expires_at" in whole seconds';
  const ENDED = "its token has ended already (is this machine's clock right?)";
  const TYPE = "its token is of another type than";
  test.each([
    [{ issued_token_type: "urn:ietf:params:oauth:token-type:jwt" }, `${TYPE} access_token`],
    [{ issued_token_type: undefined }, `${TYPE} access_token`],
    [{ token_type: "N_A" }, `${TYPE} Bearer`],
    [{ token_type: undefined }, `${TYPE} Bearer`],
    [{ expires_in: 0 }, ENDED],
    [{ expires_at: 1_800_000_000 }, ENDED],
    [{ expires_at: 0 }, ENDED],
    [{ expires_in: 3601 }, "its token would live longer than 3600 s"],
    [{ expires_in: 86_400 }, "its token would live longer than 3600 s"],
    [{ expires_in: -1 }, SECONDS],
    [{ expires_in: 1.5 }, SECONDS],
    [{ expires_in: "60" }, SECONDS],
    [{ expires_in: 1e21 }, SECONDS],
    [{ expires_in: undefined }, SECONDS],
    [{ expires_at: undefined }, SECONDS],
    [{ expires_at: "2030-01-01T00:00:00Z" }, SECONDS],
  ])("refused: %j", (changes, message) => {
    expect(() => end(changes)).toThrow(message);
  });

  test.each([
    [400, "0 s"],
    [45_000, "45 s"],
    [119_000, "119 s"],
    [120_000, "2 min"],
    [3_600_000, "60 min"],
  ])("%d ms are %s", (ms, words) => {
    expect(inWords(ms)).toBe(words);
  });
});

test("of a refusal, only a code of the RFCs' is repeated", () => {
  const code = (text: string): string | undefined => errorCodeIn(bytesOf(text));
  expect(code('{"error":"invalid_grant","error_description":"qqqq"}')).toBe("invalid_grant");
  expect(code('{"error":{"message":"qqqq","code":"invalid_target"}}')).toBe("invalid_target");
  expect(code('{"error":"qqqq"}')).toBeUndefined();
  expect(code('{"error":{"code":"qqqq"}}')).toBeUndefined();
  expect(code('{"error":{"code":7}}')).toBeUndefined();
  expect(code("<html>")).toBeUndefined();
});
