// Tests whether a program is fit for use: starts it with a dummy key, sends one request that passes and one that is refused, and ends it.
//
//   npm run smoke                                         tests what `npm run build` made
//   npm run smoke -- /usr/local/bin/responses-api-proxy   tests another file
//   npm run smoke -- npx responses-api-proxy              tests any command

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const KEY = `sk-smoke-${crypto.randomUUID()}`;
const LIMIT_MS = 60_000;
const BUILT = "dist/responses-api-proxy";
const command = process.argv.length > 2 ? process.argv.slice(2) : [BUILT];
if (command[0] === BUILT && !existsSync(BUILT)) {
  console.error(`smoke: ${BUILT} does not exist: run npm run build first`);
  process.exit(1);
}
// Everything is on 127.0.0.1, but Bun's fetch would send it to the environment's proxy.
for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
  for (const spelling of [name, name.toLowerCase()]) delete process.env[spelling];

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/** Kills the command and what it started, which may hold its output open. */
function killGroup({ pid }: Bun.Subprocess): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // They have exited.
  }
}

/** Waits for the server-info file and returns its content. */
async function serverInfo(file: string, child: Bun.Subprocess): Promise<{ port: number; pid: number }> {
  while (!(await Bun.file(file).exists())) {
    check(child.exitCode === null, `exited with ${child.exitCode} before it was ready`);
    await Bun.sleep(2);
  }
  return await Bun.file(file).json();
}

async function smoke(directory: string): Promise<number> {
  const authorizations: (string | null)[] = [];
  using upstream = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      authorizations.push(request.headers.get("authorization"));
      return new Response(await request.text(), { status: 201 });
    },
  });
  const file = join(directory, "server-info.json");
  const began = performance.now();
  const url = `http://127.0.0.1:${upstream.port}/v1/responses`;
  const child = Bun.spawn([...command, "--http-shutdown", "--server-info", file, "--upstream-url", url], {
    stdin: Buffer.from(`${KEY}\n`),
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const limit = setTimeout(() => killGroup(child), LIMIT_MS);
  const output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  try {
    const { port, pid } = await serverInfo(file, child);
    const readyAfter = performance.now() - began;
    process.kill(pid, 0);
    const proxy = `http://127.0.0.1:${port}`;
    const forwarded = await fetch(`${proxy}/v1/responses`, { method: "POST", body: "a body" });
    check(forwarded.status === 201 && (await forwarded.text()) === "a body", "a request is not forwarded");
    check(authorizations[0] === `Bearer ${KEY}`, "the upstream does not get the key");
    check((await fetch(`${proxy}/v1/models`)).status === 403, "a request for another path is not refused");
    check(authorizations.length === 1, "a refused request reaches the upstream");
    check((await fetch(`${proxy}/shutdown`)).status === 200, "GET /shutdown does not return 200");
    check((await child.exited) === 0, `the exit code is ${child.exitCode}`);
    check(!(await Bun.file(file).exists()), "the server-info file is not removed");
    check(!(await output).join("").includes(KEY), "the key is in the output");
    return readyAfter;
  } catch (error) {
    killGroup(child);
    const [, stderr] = await output;
    throw new Error(`${(error as Error).message}\n${stderr}`.trimEnd(), { cause: error });
  } finally {
    clearTimeout(limit);
  }
}

const directory = mkdtempSync(join(tmpdir(), "responses-api-proxy-smoke-"));
try {
  const readyAfter = await smoke(directory);
  console.log(`${command.join(" ")}: ready after ${readyAfter.toFixed(0)} ms, forwards, refuses, ends`);
} catch (error) {
  console.error(`${command.join(" ")}: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true });
}
