// `npm run record`: plays the session at a person's pace, and makes docs/pictures/run.svg of it. Run by `bun test`, because the harness cleans up after
// tests. As root, so that the program is as it is installed: nobody can read it, and it may lock its memory.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";

import { installedBinary } from "../harness/copies.ts";
import { lacks } from "../harness/needs.ts";
import { UNREADABLE } from "../harness/users.ts";
import { draw, PICTURE, rowsIn } from "./drawing.ts";
import { linesOf, normalised, rowsOf, textOf, warningsIn } from "./screen.ts";
import { COMMANDS, NEEDS, play } from "./session.ts";

test("record", async () => {
  if (lacks("root", "setcap", ...NEEDS)) throw new Error(`recording needs root, setcap, ${NEEDS.join(", ")}`);
  const binary = installedBinary(UNREADABLE);
  Bun.spawnSync(["setcap", "cap_ipc_lock=ep", binary], { stdio: ["ignore", "inherit", "inherit"] });
  const { events } = await play(binary, { keyMs: 24, readMs: 1300, wordMs: 150 });
  const rows = rowsOf(events);
  const lines = linesOf(rows.map((row) => ({ text: textOf(row), isContinued: row.isContinued })));
  expect(warningsIn(lines)).toEqual([]);
  const svg = draw(rows);
  expect(normalised(linesOf(rowsIn(svg)))).toEqual(normalised(lines));
  expect(COMMANDS.filter((command) => !lines.some((line) => line.endsWith(` ${command}`)))).toEqual([]);
  writeFileSync(PICTURE, svg);
});
