// The list of mutations (npm run test:mutations) fits the program as it is: each can be made, and names tests that are there.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";

import { mutate, type Mutation } from "./mutations/mutation.ts";
import native from "./mutations/native.ts";
import src from "./mutations/src.ts";

const ALL: readonly Mutation[] = [...native, ...src];

describe("mutations", () => {
  test("each stands in its file exactly once, and changes it", () => {
    for (const mutation of ALL) {
      const text = readFileSync(mutation.file, "utf8");
      expect(mutate(text, mutation), mutation.promise).not.toBe(text);
    }
    expect(ALL.length).toBeGreaterThan(100);
  });

  test("one that does not, or does twice, is an error", () => {
    const mutation = { promise: "a promise", file: "file", from: "a", to: "b", tests: [] };
    expect(mutate("-a-", mutation)).toBe("-b-");
    expect(() => mutate("-", mutation)).toThrow('file, "a promise": stands there 0 times: a');
    expect(() => mutate("-a-a-", mutation)).toThrow("stands there 2 times");
  });

  test("each names tests that are there", () => {
    for (const { promise, tests, only } of ALL) {
      expect(tests.length, promise).toBeGreaterThan(0);
      for (const name of tests)
        expect(existsSync(`test/${name}.${name.startsWith("slow/") ? "slow" : "test"}.ts`), name).toBe(true);
      expect(() => new RegExp(only ?? "")).not.toThrow();
    }
  });

  test("each promise is listed once", () => {
    const names = ALL.map(({ file, promise }) => `${file}: ${promise}`);
    expect(names).toEqual([...new Set(names)]);
  });

  test("every file between the socket, the key and the kernel has some", () => {
    const files = new Set(ALL.map(({ file }) => file));
    const PATH =
      "policy headers forward failures body upstream server overload key key-file harden rebirth sandbox".split(
        " ",
      );
    const REST = "environment server-info run main memory-lock terminal".split(" ");
    const NATIVE =
      "memory image process credentials seccomp bpf landlock descriptors directory listener datagram files";
    const expected = [
      ...[...PATH, ...REST].map((name) => `src/${name}.ts`),
      ...NATIVE.split(" ").map((name) => `native/${name}.ts`),
    ];
    expect(expected.filter((file) => !files.has(file))).toEqual([]);
  });
});
