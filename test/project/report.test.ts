// The last lines of a run are right for a few made-up tests, and every wait ends with a message that helps.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { until, within } from "../harness/deadline.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { readReport, showReport } from "../harness/report.ts";
import { open } from "../harness/wire.ts";

const MADE_UP = {
  "a.test.ts": `import { beforeAll, describe, expect, test } from "bun:test";
    describe.skipIf(true)("as <others> (needs a friend, luck)", () => {
      beforeAll(() => {});
      test("one", () => {});
      test("two (needs sight)", () => {});
    });
    test.skipIf(true)("three (needs a friend)", () => {});
    test.skipIf(true)("four", () => {});
    test("five", () => {});
    test("six", () => { expect(1).toBe(2); });`,
  "b.test.ts": `import { test } from "bun:test";
    test("seven", () => {});`,
  "c.test.ts": `import "./nowhere.ts";`,
};

test("a run is reported in lines: files, skipped tests by reason, and the totals last", async () => {
  const cwd = temporaryDirectory();
  for (const [name, text] of Object.entries(MADE_UP)) writeFileSync(join(cwd, name), text);
  const args = ["test", "--parallel", "--reporter=junit", "--reporter-outfile=junit.xml"];
  expect((await runProgram({ binary: process.execPath, args, cwd })).exitCode).toBe(1);
  const report = readReport(readFileSync(join(cwd, "junit.xml"), "utf8"), Object.keys(MADE_UP));
  expect([...report.files.keys()].sort()).toEqual(["a.test.ts", "b.test.ts"]);
  const lines = [...showReport({ ...report, files: new Map(Object.entries({ "x.ts": 1.25, "y.ts": 12 })) })];
  expect(lines).toEqual([
    "  12.0 s  y.ts",
    "   1.3 s  x.ts",
    "skipped: 1 needs a friend, luck (a: as <others>)",
    "skipped: 1 needs a friend, luck, sight (a: as <others>)",
    "skipped: 1 needs a friend (a: three)",
    "skipped: 1 needs what their names do not say (a: four)",
    "2 passed, 2 failed, 4 skipped",
  ]);
});

describe("a wait that fails says what was waited for, and what was seen", () => {
  const never = new Promise<never>(() => {});

  test("a promise, and something to become true", async () => {
    const patience = { seconds: 0.01, seen: () => "some of it" };
    await expect(within(never, "it", patience)).rejects.toThrow(
      "waited 0.01 s for it; seen so far:\nsome of it",
    );
    await expect(until(() => false, "that", patience)).rejects.toThrow(
      "waited 0.01 s for that; seen so far:\nsome of it",
    );
    expect(await within(Promise.resolve(1), "it")).toBe(1);
    expect(await until(() => 2, "that")).toBe(2);
  });

  test("bytes on a connection", async () => {
    const wire = await open((await Proxy.start()).port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    await wire.until(/\}\}$/);
    await expect(wire.until(/never/, 0.01)).rejects.toThrow(
      /^waited 0\.01 s for \/never\/ on .*\n\d+ bytes, .*HTTP\/1\.1 403/,
    );
  });

  test("a proxy that does not start: how it ended, and its standard error", async () => {
    await expect(Proxy.start({ input: "" })).rejects.toThrow(
      /did not appear: process \d+ ended with exit code 1; standard error:\nresponses-api-proxy: error: /,
    );
  });

  test("a connection to a proxy that was killed: the error says so", async () => {
    const proxy = await Proxy.start();
    proxy.signal("SIGKILL");
    await proxy.ended();
    await expect(open(proxy.port)).rejects.toThrow(
      /ECONNREFUSED[^\n]*\nprocess \d+ was ended by SIGKILL; standard error:\nresponses-api-proxy: listening on /,
    );
  });
});
