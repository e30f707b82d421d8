// docs/pictures/run.svg shows what the program prints today: the same lines are typed again, into another terminal.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { lacks } from "../harness/needs.ts";
import { CANARY_KEY } from "../harness/program.ts";
import { reachableBinary, UNREADABLE } from "../harness/users.ts";
import { PICTURE, rowsIn } from "../recording/drawing.ts";
import { linesOf, normalised, rowsOf, textOf } from "../recording/screen.ts";
import { NEEDS, play } from "../recording/session.ts";

const picture = readFileSync(PICTURE, "utf8");

test.skipIf(lacks(...NEEDS))(
  "the recorded session, typed again, gives the same lines (needs bash, curl, pgrep, /proc without hidepid)",
  async () => {
    const { events, upstream, asked } = await play(reachableBinary(UNREADABLE), {
      keyMs: 0,
      readMs: 0,
      wordMs: 0,
    });
    const rows = rowsOf(events).map((row) => ({ text: textOf(row), isContinued: row.isContinued }));
    const recorded = normalised(linesOf(rowsIn(picture)));
    expect(recorded.length).toBeGreaterThan(12);
    expect(normalised(linesOf(rows))).toEqual(recorded);
    // The stand-in was what the proxy took for api.openai.com, and it alone got the key.
    expect(asked).toEqual(["api.openai.com:443"]);
    expect(upstream.requests.map(({ headers }) => headers.get("authorization"))).toEqual([
      `Bearer ${CANARY_KEY}`,
    ]);
    expect(events.map(({ text }) => text).join("")).not.toContain(CANARY_KEY);
  },
);

test("the picture has no key, no script, no other file's text or font, and no version", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(picture).not.toContain(CANARY_KEY);
  expect(picture).not.toMatch(/<script|<image|@import|@font-face|url\(|href=/);
  expect(picture).not.toContain(version);
});
