// The way to the hosts that tokens come from: the sandbox opens their ports and no others, HTTPS_PROXY is used for them, the environment's
// authorities count for them, and doctor asks both, without a token.

import { describe, expect, test } from "bun:test";

import { landlockAbi } from "../../native/sandbox/landlock.ts";
import { version } from "../../package.json";
import { FLAGS } from "../../packaging/build.ts";
import { makeAuthority, trust } from "../harness/certificates.ts";
import type { Found, Report } from "../harness/hosts.ts";
import { startHttpProxy } from "../harness/http-proxy.ts";
import { OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

describe("the sandbox", () => {
  test("lets the proxy connect to the ports of the three hosts, again and again, and an attacker to no other", async () => {
    const hosts = await OidcHosts.start();
    hosts.lifeSeconds = 4;
    const other = new RawUpstream();
    const directory = temporaryDirectory();
    const binary = `${directory}/hooked`;
    const hook = {
      FORBIDDEN_FILE: `"/nowhere"`,
      CHANGED_FILE: `"/nowhere"`,
      WRITABLE_FILE: `"/nowhere/other"`,
      OTHER_PORT: other.port,
      OTHER_PID: 1,
      TERMINAL: `"/nowhere"`,
    };
    const defines = Object.entries(hook).map(([name, value]) => `--define=${name}=${value}`);
    const build = [process.execPath, "build", "test/harness/forbidden.ts", ...FLAGS, ...defines];
    expect(Bun.spawnSync([...build, `--outfile=${binary}`]).exitCode).toBe(0);
    const proxy = await Proxy.start({ ...hosts.start(), binary });
    const sandbox = await proxy.waitForLine(/protections: .*\n/);
    expect(sandbox[0]).toContain("landlock");
    proxy.signal("SIGUSR2");
    const results = JSON.parse(await proxy.firstOutputLine()) as Record<string, string>;
    expect(results["connect elsewhere"]).toBe(landlockAbi() >= 4 ? "EACCES" : "OK");
    const settled = hosts.accessTokens.length;
    // Renewals go on inside of it: new connections to both hosts.
    while (hosts.accessTokens.length < settled + 2) {
      expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
      await Bun.sleep(100);
    }
    expect(other.connections).toBe(0);
  }, 60_000);
});

describe("HTTPS_PROXY", () => {
  test("is the way to all three hosts, and its port is open", async () => {
    const { port, asked } = await startHttpProxy();
    const hosts = await OidcHosts.start({ host: "oidc.test" });
    const named = (args: string[]): string[] => args.map((arg) => arg.replaceAll("localhost", "oidc.test"));
    const env = { ...hosts.env, HTTPS_PROXY: `http://127.0.0.1:${port}` };
    const proxy = await Proxy.start({ ...hosts.start(), args: named(hosts.args), env });
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    expect(asked).toEqual(
      [hosts.github, hosts.openai, hosts.upstream].map((host) => `oidc.test:${host.port}`),
    );
    // Each host once, in TLS that the HTTP proxy cannot read.
    expect(hosts.authorizations()).toEqual([`Bearer ${hosts.accessTokens[0]}`]);
    // Its port is open for these two hosts, too, if the upstream is on loopback and needs none.
    const local = hosts.args.map((arg) =>
      arg.startsWith("--upstream-url=") ? arg : arg.replaceAll("localhost", "oidc.test"),
    );
    const without = trust(await makeAuthority(), temporaryDirectory());
    const mixed = await Proxy.start({ ...hosts.start(), args: local, env });
    expect(mixed.port).toBeGreaterThan(0);
    expect(asked).toHaveLength(5);
    // The neighbour: without their authority nothing is believed.
    const ended = await runProgram({
      ...hosts.start(),
      args: named(hosts.args),
      env: { ...env, ...without },
    });
    expect(ended.exitCode).toBe(1);
    expect(ended.stderr).toContain("'s certificate was refused (");
  });
});

describe("doctor", () => {
  /** What doctor finds, the milliseconds as N. */
  async function doctor(args: readonly string[], env: Record<string, string>, input = ""): Promise<Report> {
    const { stdout, stderr } = await runProgram({ args: ["doctor", "--json", ...args], env, input });
    expect(stderr).toBe("");
    return JSON.parse(stdout.replace(/\d+ ms"/g, 'N ms"')) as Report;
  }
  const of = ({ checks }: Report, id: string): Found | undefined => checks.find((check) => check.id === id);
  const head = (target: string, port: number) => ({
    first: `HEAD ${target} HTTP/1.1`,
    fields: [
      ["user-agent", `responses-api-proxy/${version}`],
      ["connection", "keep-alive"],
      ["accept", "*/*"],
      ["host", `localhost:${port}`],
    ],
    body: "",
  });

  test("asks both hosts and the upstream: a HEAD each, without a token, which it does not read", async () => {
    const hosts = await OidcHosts.start();
    hosts.idAnswer = () => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    hosts.accessAnswer = () => "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n";
    const report = await doctor(hosts.args, hosts.env, REQUEST_TOKEN);
    expect(report).toMatchObject({ starts: true, reachesUpstream: true });
    expect(report.checks.slice(-3)).toEqual([
      {
        id: "id-token",
        status: "ok",
        found: `https://localhost:${hosts.github.port}/idtoken/1/2 answers HEAD with 401, N ms`,
        advice: null,
      },
      {
        id: "access-token",
        status: "ok",
        found: `https://localhost:${hosts.openai.port}/oauth/token answers HEAD with 405, N ms`,
        advice: null,
      },
      {
        id: "upstream",
        status: "ok",
        found: `${hosts.upstream.url} answers HEAD with 200, N ms`,
        advice: null,
      },
    ]);
    expect(hosts.github.requests).toEqual([head("/idtoken/1/2?api-version=2.0", hosts.github.port)] as never);
    expect(hosts.openai.requests).toEqual([head("/oauth/token", hosts.openai.port)] as never);
  });

  test("a host that cannot be reached keeps the proxy from starting, and is named by its flag", async () => {
    const hosts = await OidcHosts.start();
    for (const [id, flag] of [
      ["id-token", "--github-oidc-request-url"],
      ["access-token", "--oidc-token-url"],
    ] as const) {
      const args = hosts.args.map((arg) =>
        arg.startsWith(`${flag}=`) ? `${flag}=https://127.0.0.1:1/x` : arg,
      );
      const report = await doctor(args, hosts.env);
      expect(report).toMatchObject({ starts: false, startsStrictly: false, reachesUpstream: true });
      expect(of(report, id)).toEqual({
        id,
        status: "fatal",
        found: "127.0.0.1:1 could not be reached (ECONNREFUSED)",
        advice: `see whether host and port of ${flag}, /etc/resolv.conf and HTTPS_PROXY are right`,
      });
      expect((await runProgram({ ...hosts.start(), args })).exitCode).toBe(1);
    }
  });

  test("without these flags there are no such checks", async () => {
    const upstream = new RawUpstream();
    const report = await doctor([`--upstream-url=${upstream.url}`], {});
    expect(of(report, "upstream")?.status).toBe("ok");
    expect(of(report, "id-token")).toBeUndefined();
    expect(of(report, "access-token")).toBeUndefined();
  });
});
