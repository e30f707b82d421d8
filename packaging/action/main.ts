// The action's step: installs the program, starts the proxy with the key, and says where it listens.
//
// It has no `post`. The runner evaluates the inputs again for it and puts them into its environment, where each process of the same user reads
// them (/proc/PID/environ): an agent's, too, that is still there when the job ends. So `stop` is an action of its own, which gets no key.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { fetchProgram, install } from "./program.ts";
import { fail, Failure, mask, setOutput, takeInput, variable } from "./runner.ts";
import { note, publish, startTimeOf } from "./started.ts";

/** What a node that starts with one of these has run before this action: code from the checkout could have the key by now. */
const FOREIGN_CODE = /(^|\s)(-r|--require|--import|--loader|--experimental-loader|--inspect\S*)(=|\s|$)/;

/** The proxy gets these of the workflow's variables, which decide whom it believes to be the upstream (docs/threat-model.md). */
const PASSED = [
  "HOME",
  "LANG",
  "TZ",
  "HTTPS_PROXY",
  "https_proxy",
  "NO_PROXY",
  "no_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
];

const OIDC = ["oidc-audience", "identity-provider-id", "service-account-id"] as const;

/** What the proxy reads from standard input, and the flags that go with it. */
type Secret = { text: string; flags: string[] };

async function main(): Promise<void> {
  if (FOREIGN_CODE.test(process.env["NODE_OPTIONS"] ?? ""))
    throw new Failure("NODE_OPTIONS loads other code into this step, which has the key: leave it out");
  const secret = takeSecret();
  mask(secret.text);
  const upstream = takeInput("upstream-url");
  const version = takeInput("version");
  const lifetime = takeInput("lifetime");
  const strict = isTrue("strict", takeInput("strict"));
  const published = resolve(
    takeInput("server-info") || join(variable("HOME"), ".codex", `${variable("GITHUB_RUN_ID")}.json`),
  );
  const directory = mkdtempSync(join(variable("RUNNER_TEMP"), "responses-api-proxy-"));
  const log = join(directory, "log");
  // A directory of its own: whoever takes the proxy over can write there, and nowhere else.
  const serverInfo = join(directory, "proxy", "server-info.json");
  const program = install(await fetchProgram(version), directory);
  start(program, secret, [
    `--server-info=${serverInfo}`,
    `--log-file=${log}`,
    // A job that is broken off takes no further step.
    ...(lifetime === "" ? [] : [`--lifetime=${lifetime}`]),
    ...(upstream === "" ? [] : [`--upstream-url=${upstream}`]),
    ...(strict ? ["--strict"] : []),
  ]);
  const { port, pid } = JSON.parse(readFileSync(serverInfo, "utf8")) as { port: number; pid: number };
  note({ pid, since: startTimeOf(pid), log, published });
  publish(serverInfo, published);
  setOutput("base-url", `http://127.0.0.1:${port}`);
  setOutput("port", port);
  setOutput("server-info", published);
}

/** Returns the key, or with the inputs for OIDC the job's request token. Throws Failure if there is neither, or both. */
function takeSecret(): Secret {
  const key = takeInput("openai-api-key");
  const given = OIDC.map((name) => [name, takeInput(name)] as const);
  if (given.every(([, value]) => value === "")) {
    if (key !== "") return { text: key, flags: [] };
    throw new Failure(
      "openai-api-key is empty: the secret is not set, or this is a fork's pull request, which gets no secrets",
    );
  }
  const missing = given.find(([, value]) => value === "");
  if (missing !== undefined) throw new Failure(`${missing[0]} is empty: ${OIDC.join(", ")} go together`);
  if (key !== "") throw new Failure("openai-api-key and oidc-audience: a job needs one of the two");
  const [url, token] = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"].map(
    (name) => process.env[name] ?? "",
  );
  if (!url || !token)
    throw new Failure(
      "there is no ID token: the job needs permissions: id-token: write, and a fork's pull request never gets it",
    );
  return {
    text: token,
    flags: [
      "--github-oidc",
      `--github-oidc-request-url=${url}`,
      ...given.map(([name, value]) => `--${name}=${value}`),
    ],
  };
}

/** Starts the proxy. The secret is in its pipe, and nowhere else. Throws Failure if it does not serve. */
function start(program: string, { text, flags }: Secret, more: string[]): void {
  const env = Object.fromEntries(
    PASSED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
  );
  const { status, error } = spawnSync(program, ["--background", ...flags, ...more], {
    env,
    cwd: "/",
    input: `${text}\n`,
    stdio: ["pipe", "inherit", "inherit"],
  });
  if (error !== undefined)
    throw new Failure(`${program} cannot be executed: ${(error as NodeJS.ErrnoException).code}`);
  if (status !== 0)
    throw new Failure(`the proxy did not start (exit code ${status}): the lines above say why`);
}

/** As YAML 1.2 has it, and @actions/core. Throws Failure. */
function isTrue(name: string, value: string): boolean {
  if (/^(true|True|TRUE)$/.test(value)) return true;
  if (/^(false|False|FALSE)?$/.test(value)) return false;
  throw new Failure(`${name} must be true or false`);
}

await main().catch(fail);
