// `run` and --background with --github-oidc: COMMAND gets the proxy and not the request token; a start that gets no token ends both.

import { describe, expect, test } from "bun:test";

import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { json, OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import { isAlive, runProgram } from "../harness/program.ts";
import { NO_TERMINAL, processesOf } from "../harness/run.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

const allEnded = (hosts: OidcHosts): Promise<boolean> =>
  until(() => processesOf(hosts.upstream.url).length === 0, "every process of the run to end");

describe("run", () => {
  test.skipIf(lacks("curl"))(
    "COMMAND uses the proxy, and its environment has no request token (needs curl)",
    async () => {
      const hosts = await OidcHosts.start();
      const start = hosts.start(
        "--",
        "sh",
        "-c",
        'env; curl -s -d hi -H "Authorization: Bearer $OPENAI_API_KEY" "$OPENAI_BASE_URL/responses"',
      );
      const { exitCode, stdout, stderr } = await runProgram({
        ...start,
        launcher: NO_TERMINAL,
        args: ["run", ...start.args!],
        env: {
          ...start.env,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
          ACTIONS_ID_TOKEN_REQUEST_URL: hosts.requestUrl,
          OTHER: "kept",
        },
      });
      expect(exitCode).toBe(0);
      expect(stdout).toEndWith("\nok");
      expect(stdout).toContain("OTHER=kept\n");
      expect(stdout).toContain("ACTIONS_ID_TOKEN_REQUEST_URL=");
      expect(stdout.includes(REQUEST_TOKEN.slice(0, 20))).toBe(false);
      expect(stdout).not.toContain("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
      expect(stderr.includes(REQUEST_TOKEN.slice(0, 20))).toBe(false);
      expect(hosts.authorizations()).toEqual([`Bearer ${hosts.accessTokens[0]}`]);
      await allEnded(hosts);
    },
  );

  test("without an access token COMMAND is not started", async () => {
    const hosts = await OidcHosts.start();
    hosts.idAnswer = () => json("403 Forbidden", "{}");
    const start = hosts.start("--", "echo", "started");
    const { exitCode, stdout, stderr } = await runProgram({
      ...start,
      launcher: NO_TERMINAL,
      args: ["run", ...start.args!],
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toStartWith("responses-api-proxy: error: no access token: GitHub's ID token host (");
    await allEnded(hosts);
  });
});

test("--background returns when there is a token", async () => {
  const hosts = await OidcHosts.start();
  const { exitCode, stdout } = await runProgram(hosts.start("--background"));
  expect(exitCode).toBe(0);
  const [, port] = /^http:\/\/127\.0\.0\.1:(\d+)\n$/.exec(stdout)!;
  expect(hosts.accessTokens).toHaveLength(1);
  expect((await roundTrip(Number(port), REQUEST)).status).toBe(200);
  const [running] = processesOf(hosts.upstream.url);
  const pid = Number.parseInt(running!);
  process.kill(pid, "SIGTERM");
  await until(() => !isAlive(pid), "the proxy to end");
});
