// `npm run demo`: one exchange from end to end on this machine, without a network and without a real key.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import OpenAI from "openai";

import { makeAuthority, trust } from "./harness/certificates.ts";
import { startResponsesApi } from "./harness/responses-api.ts";

// Everything is on 127.0.0.1, which Bun's fetch would reach through a proxy unless NO_PROXY excludes it.
for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
  for (const spelling of [name, name.toLowerCase()]) delete process.env[spelling];

const directory = mkdtempSync("/tmp/responses-api-proxy-demo-");
const info = join(directory, "proxy/server-info.json");
const DUMMY_KEY = "sk-dummy-key-of-the-demo";

say("1. A stand-in Responses API starts on 127.0.0.1, with TLS and a CA made for this run.");
const authority = await makeAuthority();
const api = startResponsesApi({ tls: authority.server, pauseMs: 120 });
show(api.url);

say("2. The proxy starts, and a dummy key is piped into it:");
const args = ["--http-shutdown", "--server-info", info, "--upstream-url", api.url];
show(`echo ${DUMMY_KEY} | npm start -- ${args.join(" ")}`);
const proxy = Bun.spawn(
  [process.execPath, "--config=/dev/null", "--no-env-file", `${import.meta.dir}/../src/main.ts`, ...args],
  {
    stdin: Buffer.from(`${DUMMY_KEY}\n`),
    stderr: "pipe",
    env: { PATH: process.env["PATH"] ?? "", ...trust(authority, directory) },
  },
);
const messages = new Response(proxy.stderr).text();
const { port } = await readInfo();
show(readFileSync(info, "utf8").trim());

say("3. The openai SDK, which has another key, streams an answer through it:");
const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "not-the-key", maxRetries: 0 });
process.stdout.write("   ");
for await (const event of await client.responses.create({
  model: "gpt-5",
  input: "Where is the key?",
  stream: true,
})) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
}
process.stdout.write("\n");

say("4. What the upstream saw:");
for (const [name, value] of api.requests[0]!.headers) {
  if (name === "authorization")
    show(`authorization: Bearer ${"*".repeat(8)} (the proxy's key: ${value === `Bearer ${DUMMY_KEY}`})`);
  else show(name);
}

say("5. Anything but POST /v1/responses is refused:");
await client.models.list().then(
  () => fail("GET /v1/models was not refused"),
  (error: Error) => show(`client.models.list() → ${error.message}`),
);

say("6. GET /shutdown ends it:");
await fetch(`http://127.0.0.1:${port}/shutdown`);
const exitCode = await proxy.exited;
show(`exit code ${exitCode}, and it said on standard error`);
const lines = (await messages).trim().split("\n");
if (lines.some((line) => line.includes("warning: ")))
  show("(a start from a clone warns of what only the installed file has; that is expected here):");
for (const line of lines) show(`  ${line}`);

api.stop();
rmSync(directory, { recursive: true });
const seen = api.requests.map(({ headers }) => headers.get("authorization"));
if (exitCode !== 0 || seen.join() !== `Bearer ${DUMMY_KEY}`) fail("that is not as it should be");
process.exit(0);

async function readInfo(): Promise<{ port: number }> {
  while (!existsSync(info)) {
    if (proxy.exitCode !== null) fail(`the proxy did not start:\n${await messages}`);
    await Bun.sleep(5);
  }
  return JSON.parse(readFileSync(info, "utf8"));
}

function say(text: string): void {
  console.log(`\n${text}`);
}

function show(text: string): void {
  console.log(`   ${text}`);
}

function fail(text: string): never {
  console.error(`demo: ${text}`);
  proxy.kill();
  process.exit(1);
}
