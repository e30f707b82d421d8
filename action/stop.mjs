/* oxlint-disable */
// Built from packaging/action/stop.ts: change that, and `npm run action`.

// packaging/action/runner.ts
import { randomUUID } from "node:crypto";
// packaging/action/stop.ts
import {
  closeSync,
  constants as constants2,
  fstatSync,
  openSync,
  readSync,
  rmSync as rmSync2,
} from "node:fs";
class Failure extends Error {}
function variable(name) {
  const value = process.env[name];
  if (!value) throw new Failure(`${name} is not set: this is for a runner of GitHub Actions`);
  return value;
}
function warn(text) {
  command("warning", text);
}
function fail(error) {
  command("error", error instanceof Failure ? error.message : `internal error (${error.name})`);
  process.exitCode = 1;
}
function printGroup(title, text) {
  const token = randomUUID();
  console.log(`::group::${title}`);
  console.log(`::stop-commands::${token}`);
  console.log(text.trimEnd());
  console.log(`::${token}::`);
  console.log("::endgroup::");
}
function command(name, value) {
  const escaped = value
    .replaceAll("%", "%25")
    .replaceAll("\r", "%0D")
    .replaceAll(
      `
`,
      "%0A",
    );
  console.log(`::${name}::${escaped}`);
}

// packaging/action/started.ts
import {
  appendFileSync,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
var file = () => join(variable("RUNNER_TEMP"), "responses-api-proxy.started");
function takeStarted() {
  try {
    const lines = readFileSync(file(), "utf8").trim().split(`
`);
    rmSync(file());
    return lines.map((line) => JSON.parse(line));
  } catch {
    return [];
  }
}
function startTimeOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[19];
  } catch {
    return;
  }
}

// packaging/action/stop.ts
var LIMIT_MS = 15000;
var EVERY_MS = 50;
var MAX_LOG_BYTES = 1024 * 1024;
async function stop() {
  for (const started of takeStarted()) {
    await end(started);
    removePublished(started);
    printGroup("responses-api-proxy", readLog(started.log));
  }
}
async function end({ pid, since }) {
  const isAlive = () => since !== undefined && startTimeOf(pid) === since;
  if (!isAlive()) return warn("responses-api-proxy had ended before the job did");
  signal(pid, "SIGTERM");
  for (const limit = Date.now() + LIMIT_MS; isAlive();) {
    if (Date.now() > limit) {
      signal(pid, "SIGKILL");
      return warn("responses-api-proxy did not end by itself");
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch {}
}
function removePublished({ pid, published }) {
  try {
    if (new RegExp(`"pid":${Number(pid)}\\b`).test(readEnd(published) ?? "")) rmSync2(published);
  } catch {}
}
function readLog(path) {
  try {
    return readEnd(path) ?? "(the log is no file any more)";
  } catch (error) {
    return `(no log: ${error.code})`;
  }
}
function readEnd(path) {
  let fd;
  try {
    fd = openSync(path, constants2.O_RDONLY | constants2.O_NOFOLLOW | constants2.O_NONBLOCK);
    const found = fstatSync(fd);
    if (!found.isFile()) return;
    const space = Buffer.alloc(Math.min(found.size, MAX_LOG_BYTES));
    return space.toString("utf8", 0, readSync(fd, space, 0, space.length, found.size - space.length));
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
await stop().catch(fail);
