// From the start of a process to its server-info file, as an ordinary user.

import { chownSync, closeSync, copyFileSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { end, start, USER } from "../machine/processes.ts";
import type { Bench } from "../peers/peers.ts";
import { inRounds, makeRow, type Row } from "../rows.ts";

const READABLE = "from a readable file";
const DEADLINE_MS = 5_000;

/** The program from a file that its user cannot read, and from one that the user can read, which starts a copy of itself. */
export async function starts({ site, upstreams, starts: rounds }: Bench): Promise<Row[]> {
  const directory = join(site.directory, "start");
  const readable = join(directory, "responses-api-proxy");
  mkdirSync(directory, { mode: 0o755 });
  copyFileSync(site.program, readable);
  for (const path of [directory, readable]) chownSync(path, USER, USER);
  const { codex, absent } = site.tools;
  const commands: Record<string, string[] | undefined> = {
    ours: [site.program],
    [READABLE]: [readable],
    codex: codex === undefined ? undefined : [codex, "responses-api-proxy"],
  };
  const samples = await inRounds(rounds, Object.keys(commands), (name) => {
    const command = commands[name];
    if (command === undefined) throw new Error(absent.get(name));
    return timeStart(command, join(directory, "server-info.json"), upstreams.plain, site.keyFile);
  });
  const row = makeRow({ name: "start", unit: "ms", samples, figure: (milliseconds) => milliseconds });
  // The program's two ways to start are two rows, not two columns.
  const { [READABLE]: again, ...figures } = row.figures;
  return [
    { ...row, figures },
    { ...row, name: "start from a readable file", figures: { ours: again! } },
  ];
}

/** Returns milliseconds. It polls for the file without a pause, so that no timer is measured. */
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
