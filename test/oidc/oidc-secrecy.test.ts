// The request token, ID tokens and access tokens are in no log, message, file or answer, at the most talkative settings, also while everything
// fails and the hosts quote what they were sent.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { json, OidcHosts, REQUEST_TOKEN } from "../harness/oidc-hosts.ts";
import { temporaryDirectory } from "../harness/program.ts";
import { OK } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

test("a whole life leaves no token anywhere, and no part of one", async () => {
  const hosts = await OidcHosts.start();
  hosts.lifeSeconds = 4;
  const directory = temporaryDirectory();
  const [dump, info] = [join(directory, "dump"), join(directory, "info.json")];
  const proxy = await hosts.proxy(
    "--log-level=debug",
    "--log-json",
    `--dump-dir=${dump}`,
    `--server-info=${info}`,
  );
  const seen: string[] = [];
  const ask = async (): Promise<void> => {
    seen.push((await roundTrip(proxy.port, REQUEST)).raw);
  };
  await ask();
  await until(() => hosts.accessTokens.length >= 3, "two renewals", { seconds: 20 });
  await ask();
  // Both hosts fail and quote what they were sent, and the upstream refuses the token.
  hosts.upstream.answer = json("401 Unauthorized", "{}");
  hosts.accessAnswer = (_token, { body }) =>
    json("400 Bad Request", { error: body, error_description: body });
  await ask();
  await proxy.waitForLine(/cannot be renewed: /);
  hosts.upstream.answer = OK;
  // Members that are not asked for hold tokens, and so does one that must hold a type.
  hosts.idAnswer = (value, { fields }) => ({ value, quoted: fields, other: value });
  hosts.accessAnswer = (token) => ({ ...hosts.goodAnswer(token), token_type: token });
  await proxy.waitForLine(/no access token is left: /);
  await ask();
  hosts.accessAnswer = (token) => ({ ...hosts.goodAnswer(token), refresh_token: `refresh.${token}` });
  await until(() => /a new access token after /.test(proxy.stderr), "a token", { seconds: 30 });
  await ask();
  const files = [readFileSync(info, "utf8"), readFileSync(`/proc/${proxy.pid}/cmdline`, "latin1")];
  const { stdout, stderr } = await proxy.stop();
  // Only now has every dump got its name.
  const dumps = readdirSync(dump);
  expect(dumps.length).toBeGreaterThan(4);
  files.push(...dumps.map((name) => readFileSync(join(dump, name), "utf8")));
  expect(stdout).toBe("");
  expect(seen.map((raw) => raw.slice(9, 12))).toEqual(["200", "200", "401", "503", "200"]);
  const all = [stderr, ...seen, ...files].join("\n");
  const tokens = [REQUEST_TOKEN, ...hosts.idTokens, ...hosts.accessTokens];
  expect(tokens.length).toBeGreaterThan(8);
  for (const token of tokens)
    for (const part of [token.slice(0, 10), token.slice(100, 110), token.slice(-10)])
      expect(all.includes(part)).toBe(false);
  // What is looked for would be found.
  expect(all.includes("no_token")).toBe(true);
}, 60_000);
