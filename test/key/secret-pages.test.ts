// The pages that a key is read into, seen from inside: their guards, their flags, and that they are wiped.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { libc, ptr } from "../../native/ffi/libc.ts";
import { SecretPages } from "../../native/process/memory.ts";
import { mappingsWithFlags } from "../harness/memory.ts";

const SECRET = "sk-in-these-pages";
const PAGE_BYTES = BigInt(libc.getpagesize());

type Mapping = { start: bigint; end: bigint; access: string };

/** The mappings of this process, by address. */
function mappings(): Mapping[] {
  const lines = readFileSync("/proc/self/maps", "latin1").trimEnd().split("\n");
  return lines.map((line) => {
    const [, start, end, access] = /^(\w+)-(\w+) (\S{4})/.exec(line)!;
    return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), access: access! };
  });
}

/** Returns pages that hold the secret, and their addresses. */
function filled(): { pages: SecretPages; start: bigint; end: bigint } {
  const pages = new SecretPages(8192);
  pages.bytes.set(Buffer.from(SECRET));
  const start = BigInt(ptr(pages.bytes));
  return { pages, start, end: start + BigInt(pages.bytes.byteLength) };
}

type Call = (...args: never[]) => number | undefined;

/** Calls `instead` in place of a libc function while `run` runs. */
function replacing(
  name: "mlock" | "madvise" | "munmap" | "explicit_bzero",
  instead: Call,
  run: () => void,
): void {
  const functions = libc as unknown as Record<string, Call>;
  const original = functions[name]!;
  functions[name] = instead;
  try {
    run();
  } finally {
    functions[name] = original;
  }
}

describe("pages for a secret", () => {
  test("an unreadable page lies before and after them", () => {
    const { pages, start, end } = filled();
    const before = mappings().find((mapping) => mapping.end === start);
    const after = mappings().find((mapping) => mapping.start === end);
    pages.wipe();
    expect([before?.access, after?.access]).toEqual(["---p", "---p"]);
    for (const { start: from, end: to } of [before!, after!]) expect(to - from >= PAGE_BYTES).toBe(true);
  });

  test("they are locked, left out of core files, and empty in a child process; no protection is reported missing", () => {
    const { pages, start } = filled();
    const flagged = mappingsWithFlags(process.pid, "lo", "dd", "wf");
    const { missing } = pages;
    pages.wipe();
    expect(flagged.filter((block) => block.startsWith(`${start.toString(16)}-`))).toHaveLength(1);
    expect(missing).toEqual([]);
  });

  test("a protection that the kernel refuses is named", () => {
    const refusing = [
      ["mlock", ["mlock"]],
      ["madvise", ["MADV_DONTDUMP", "MADV_WIPEONFORK"]],
    ] as const;
    for (const [name, missing] of refusing) {
      replacing(
        name,
        () => -1,
        () => {
          const { pages } = filled();
          expect(pages.missing).toEqual([...missing]);
          pages.wipe();
        },
      );
    }
  });

  test("they are all zeros when they are unmapped", () => {
    const { pages } = filled();
    const given: string[] = [];
    const { munmap } = libc;
    const look = (...range: Parameters<typeof munmap>): number => {
      given.push(Buffer.from(pages.bytes).toString("latin1"));
      return munmap(...range);
    };
    replacing("munmap", look, () => pages.wipe());
    expect(given).toEqual(["\0".repeat(8192)]);
  });

  test("an explicit_bzero that leaves anything there is noticed, and they are not unmapped", () => {
    const { pages, start } = filled();
    replacing(
      "explicit_bzero",
      () => undefined,
      () => expect(() => pages.wipe()).toThrow("the key's pages were not wiped"),
    );
    expect(mappings().some((mapping) => mapping.start === start)).toBe(true);
    pages.wipe();
    expect(mappings().some((mapping) => mapping.start === start)).toBe(false);
  });
});
