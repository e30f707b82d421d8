// Another process of the proxy's user cannot read the key, though it attacks from the proxy's first instruction on.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chownSync } from "node:fs";
import { join } from "node:path";

import { CANARY_KEY, SETTINGS, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ORDINARY, reachableBinary, runAsWithin, UNREADABLE } from "../harness/users.ts";

/** 50 starts take 15 s on a quiet machine, and several times as long beside other tests. */
const SECONDS = 200;
setDefaultTimeout(1000 * (SECONDS + 5));

const upstream = new RawUpstream();

describe("another process of the same user that attacks from the spawn on", () => {
  const race = async (
    tries: number,
    binary: string,
    environment: Record<string, string>,
  ): Promise<number> => {
    const directory = temporaryDirectory();
    chownSync(directory, ORDINARY, process.getgid!());
    const info = join(directory, "info.json");
    const args = [
      String(tries),
      CANARY_KEY,
      info,
      JSON.stringify(environment),
      binary,
      `--upstream-url=${upstream.url}`,
    ];
    return JSON.parse(await runAsWithin(SECONDS, ORDINARY, "racer.ts", ...args)).stolen;
  };
  const PATH = "/usr/bin:/bin";

  test.each([
    ["an unreadable file", UNREADABLE],
    ["a readable file, through a copy in memory", 0o755],
  ])("steals the key in 0 of 50 starts from %s", async (_from, mode) => {
    expect(await race(50, reachableBinary(mode), { PATH })).toBe(0);
  });

  test("the neighbour: it steals the key from a process that was dumpable for a moment", async () => {
    // The mark of the second start, set by hand, skips the first start, which closes that window.
    const forged = { PATH, ...SETTINGS, RESPONSES_API_PROXY_STAGE: "reexec" };
    expect(await race(5, reachableBinary(), forged)).toBeGreaterThan(0);
  });
});
