// docs/github-actions.md: the steps by hand, with a key, do what they say.

import { describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { BINARY, CANARY_KEY, isAlive, runProgram, temporaryDirectory } from "../harness/program.ts";

const guide = readFileSync("docs/github-actions.md", "utf8");

describe("the steps by hand", () => {
  type Step = { name?: string; run?: string; if?: string; "working-directory"?: string };
  const [, block] = /^## The steps by hand\n[\s\S]*?```yaml\n([\s\S]*?)```/m.exec(guide)!;
  const steps = Bun.YAML.parse(block!) as Step[];
  const stepOf = (name: string): Step => steps.find((step) => step.name === name)!;

  /** Runs a step as a runner does: with bash, until the script and every process that holds its output have ended. */
  async function runScript(script: string, env: Record<string, string>, cwd = "/"): Promise<string> {
    const args = ["--noprofile", "--norc", "-eo", "pipefail", "-c", script];
    const { exitCode, stdout, stderr } = await runProgram({ binary: "bash", args, env, cwd });
    if (exitCode !== 0) throw new Error(`it ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout + stderr;
  }
  const step = (name: string, env: Record<string, string>): Promise<string> =>
    runScript(stepOf(name).run!, env);

  test.skipIf(lacks("bash", "curl", "jq"))(
    "after the step that starts the proxy it serves, and after the step that stops it nothing is left (needs bash, curl, jq)",
    async () => {
      const temporary = temporaryDirectory();
      symlinkSync(BINARY, join(temporary, "responses-api-proxy"));
      const env = {
        PATH: `${temporary}:${process.env["PATH"]}`,
        HOME: temporary,
        RUNNER_TEMP: temporary,
        GITHUB_RUN_ID: "42",
      };
      const log = await step("Start the proxy", { ...env, OPENAI_API_KEY: CANARY_KEY });
      const { port, pid } = await Bun.file(join(temporary, ".codex/42.json")).json();
      expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(403);
      // After it come warnings, if the tester is an ordinary user.
      expect(log).toStartWith(`http://127.0.0.1:${port}\n`);
      const stopped = await step("Stop the proxy", env);
      expect(stopped).toContain(`listening on http://127.0.0.1:${port}`);
      expect(stopped).not.toContain(CANARY_KEY);
      await until(() => !isAlive(pid), "the proxy to end");
      expect(existsSync(join(temporary, ".codex/42.json"))).toBe(false);
    },
  );

  describe("the step that installs the program", () => {
    /**
     * Runs the step in a checkout with a hostile npm configuration. The registry serves `program`, and the digest of
     * /bin/sh replaces the one in the step. Returns the installed file.
     */
    async function install(program: string): Promise<string> {
      const directory = temporaryDirectory();
      const [bin, checkout, installed] = ["bin", "checkout", "installed"].map((name) =>
        join(directory, name),
      );
      mkdirSync(join(directory, "package/bin"), { recursive: true });
      for (const path of [bin!, checkout!, installed!]) mkdirSync(path);
      copyFileSync(program, join(directory, "package/bin/responses-api-proxy"));
      Bun.spawnSync(["tar", "-I", "gzip -1", "-cf", "served.tgz", "package"], { cwd: directory });
      writeFileSync(join(checkout!, ".npmrc"), "registry=http://127.0.0.1:1/\n");
      // Stand-ins for the download, and for root, because the tester may be an ordinary user.
      const shims = {
        curl: `for last; do :; done; case "$last" in https://registry.npmjs.org/*) cp '${directory}/served.tgz' responses-api-proxy.tgz ;; *) exit 22 ;; esac`,
        sudo: 'case "$1" in install) shift; set -- install "${@:5}" ;; setcap) exit 0 ;; esac; exec "$@"',
        npm: `touch '${directory}/npm-was-called'`,
      };
      for (const [name, text] of Object.entries(shims))
        writeFileSync(join(bin!, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 });
      const { "working-directory": where, run: script } = stepOf("Install responses-api-proxy");
      expect(where).toBe("${{ runner.temp }}");
      const digest = new Bun.CryptoHasher("sha256").update(readFileSync("/bin/sh")).digest("hex");
      const here = script!
        .replace(/echo "\w+ {2}/, `echo "${digest}  `)
        .replace("/usr/local/bin/", `'${installed}/'`);
      await runScript(here, { PATH: `${bin}:${process.env["PATH"]}`, HOME: checkout! }, directory);
      expect(existsSync(join(directory, "npm-was-called"))).toBe(false);
      return join(installed!, "responses-api-proxy");
    }

    test.skipIf(lacks("bash"))(
      "installs the file with that digest, without a package manager (needs bash)",
      async () => {
        const installed = await install("/bin/sh");
        expect(readFileSync(installed).equals(readFileSync("/bin/sh"))).toBe(true);
        expect(statSync(installed).mode & 0o777).toBe(0o710);
      },
    );

    test.skipIf(lacks("bash"))("fails for any other file (needs bash)", async () => {
      const other = await install("/bin/cat").catch((error: Error) => error.message);
      expect(other).toContain("sha256sum: WARNING: 1 computed checksum did NOT match");
    });
  });

  test("the proxy is always stopped, and only one step has the key", () => {
    expect(stepOf("Stop the proxy").if).toBe("always()");
    expect(block!.match(/secrets\./g)).toHaveLength(1);
  });
});
