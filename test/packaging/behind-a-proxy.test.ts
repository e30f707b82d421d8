// The smoke test and the demo work in an environment with a company's proxy and no exception for 127.0.0.1.

import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { BARE_ENVIRONMENT, temporaryDirectory } from "../harness/program.ts";

let asked = 0;
const company = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: { open: () => void asked++, data() {} },
});
atEnd(() => company.stop(true));
const proxy = `http://127.0.0.1:${company.port}`;
const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]);
const env = { ...BARE_ENVIRONMENT, ...Object.fromEntries(names.map((name) => [name, proxy])) };

async function run(script: string, cwd = process.cwd()): Promise<[number, string]> {
  const child = Bun.spawn([process.execPath, resolve(script)], { env, cwd, stdout: "pipe", stderr: "pipe" });
  const output = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return [await child.exited, output.join("")];
}

describe("with a proxy in the environment that never answers", () => {
  test("npm run smoke", async () => {
    const [exitCode, output] = await run("packaging/smoke.ts");
    expect(output).toMatch(/^dist\/responses-api-proxy: ready after \d+ ms, forwards, refuses, ends\n$/);
    expect([exitCode, asked]).toEqual([0, 0]);
  });

  test("npm run demo", async () => {
    const [exitCode, output] = await run("test/demo.ts");
    expect(output).toContain("the proxy's key: true");
    expect(output).toContain("1 exchange (0 failed), 1 refused");
    expect([exitCode, asked]).toEqual([0, 0]);
  });
});

test("npm run smoke before npm run build: one line that says so", async () => {
  expect(await run("packaging/smoke.ts", temporaryDirectory())).toEqual([
    1,
    "smoke: dist/responses-api-proxy does not exist: run npm run build first\n",
  ]);
});
