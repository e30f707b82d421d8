// 100 runs in a row, and 100 that are killed at some moment of their start or a little later: nothing is left of any.

import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { BARE_ENVIRONMENT, BINARY, CANARY_KEY, temporaryDirectory } from "../harness/program.ts";
import { NO_TERMINAL, processesOf, runWith } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";

const { url } = new RawUpstream();

const directory = temporaryDirectory();
mkdirSync(join(directory, "bin"));
writeFileSync(join(directory, "bin/codex"), "#!/bin/sh\nexit 4\n", { mode: 0o755 });
const env = { ...BARE_ENVIRONMENT, TMPDIR: directory, PATH: `${directory}/bin:${BARE_ENVIRONMENT.PATH}` };
const args = [`--server-info=${directory}/info`, `--client-token=${directory}/token`];

test("100 in a row", async () => {
  for (let run = 0; run < 100; run++) expect((await runWith(url, ["codex"], { env, args })).exitCode).toBe(4);
  expect(readdirSync(directory)).toEqual(["bin"]);
});

test("100 that are killed after 0 to 400 ms", async () => {
  let started = 0;
  for (let ms = 0; ms < 400; ms += 4) {
    const command = [
      ...NO_TERMINAL.slice(0, 1),
      BINARY,
      "run",
      `--upstream-url=${url}`,
      ...args,
      "--",
      "sh",
      "-c",
      "echo started; exec sleep 30",
    ];
    const child = Bun.spawn(command, {
      stdin: Buffer.from(`${CANARY_KEY}\n`),
      stdout: "pipe",
      stderr: "ignore",
      env,
      cwd: "/",
    });
    await Bun.sleep(ms);
    child.kill("SIGKILL");
    await child.exited;
    if ((await new Response(child.stdout).text()) !== "") started++;
    await until(
      () => processesOf(url).length === 0,
      `every process of the run that was killed after ${ms} ms to end`,
      {
        seen: () => processesOf(url).join("\n"),
      },
    );
    await until(
      () => readdirSync(directory).join() === "bin",
      `every file of the run that was killed after ${ms} ms to go`,
      {
        seen: () => readdirSync(directory).join(),
      },
    );
  }
  // Some were killed before COMMAND, and some after.
  expect(started).toBeGreaterThan(10);
  expect(started).toBeLessThan(100);
});
