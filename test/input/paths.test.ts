// The program's path functions return what node:path returns.

import { describe, expect, test } from "bun:test";
import { posix } from "node:path";

import { basename, dirname, resolve } from "../../src/base/paths.ts";

const PARTS = ["", ".", "..", "a", "b.c", "...", " ", "dev"];
const PATHS = PARTS.flatMap((a) =>
  PARTS.flatMap((b) => PARTS.flatMap((c) => [`${a}/${b}/${c}`, `/${a}/${b}/${c}`, `${a}//${b}/./${c}/`])),
);

describe("paths", () => {
  test(`resolve, dirname and basename return what node:path returns, for ${PATHS.length} paths`, () => {
    for (const path of PATHS) {
      const resolved = posix.resolve(path);
      expect(resolve(path), path).toBe(resolved);
      expect(dirname(resolved), path).toBe(posix.dirname(resolved));
      expect(basename(resolved), path).toBe(posix.basename(resolved));
    }
  });
});
