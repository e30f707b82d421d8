// From the start of a process to its --server-info file, as an ordinary user.

import { chownSync, closeSync, copyFileSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import type { Bench, Block } from "../bench.ts";
import { end, start } from "../children.ts";
import type { Site } from "../peers.ts";
import { inRounds } from "../rounds.ts";
import { atMost, makeRow } from "../rows.ts";

const STARTS = 20;
/** The number of a user that nobody is. */
const USER = 61_234;
const DEADLINE_MS = 5_000;

export const starts: Block = {
  id: "start",
  async measure({ site, upstreams }: Bench) {
    const directory = join(site.directory, "start");
    mkdirSync(directory, { mode: 0o755 });
    chownSync(directory, USER, USER);
    const commands = commandsOf(site, directory);
    const samples = await inRounds(STARTS, Object.keys(commands), (name) => {
      const command = commands[name];
      if (command === undefined) throw new Error(site.tools.absent.get(name));
      return timeStart(command, join(directory, "server-info.json"), upstreams.plain, site.keyFile);
    });
    return [
      makeRow({
        id: "start",
        title: "start to server-info",
        unit: "ms",
        samples,
        figure: (milliseconds) => milliseconds,
        targets: [atMost(2.5, "codex")],
      }),
    ];
  },
};

/** From a file that its user can execute and not read, and from one that the user can read, which starts a copy in memory. */
function commandsOf({ program, tools }: Site, directory: string): Record<string, string[] | undefined> {
  const readable = join(directory, "responses-api-proxy");
  copyFileSync(program, readable);
  chownSync(readable, USER, USER);
  return {
    ours: [program],
    "ours, readable file": [readable],
    codex: tools.codex === undefined ? undefined : [tools.codex, "responses-api-proxy"],
  };
}

/** Milliseconds. The file is looked for without a pause, so that no timer is measured. */
async function timeStart(
  command: string[],
  serverInfo: string,
  upstream: URL,
  keyFile: string,
): Promise<number> {
  const key = openSync(keyFile, "r");
  const started = performance.now();
  const child = start([...command, `--server-info=${serverInfo}`, `--upstream-url=${upstream.href}`], {
    stdin: key,
    stdout: "ignore",
    stderr: "ignore",
    env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent" },
    uid: USER,
    gid: USER,
  } as const);
  try {
    while (!isWritten(serverInfo)) {
      if (performance.now() - started > DEADLINE_MS) throw new Error(`no server-info in ${DEADLINE_MS} ms`);
    }
    return performance.now() - started;
  } finally {
    closeSync(key);
    await end(child);
    rmSync(serverInfo, { force: true });
  }
}

function isWritten(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
}
