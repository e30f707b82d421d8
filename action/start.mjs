/* oxlint-disable */
// Built from packaging/action/main.ts: change that, and `npm run action`.

// packaging/action/main.ts
import { spawnSync as spawnSync2 } from "node:child_process";
// packaging/action/program.ts
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync as readFileSync2, writeFileSync } from "node:fs";
import { join as join2, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
// package.json
var version = "0.2.0";

// packaging/digests.json
var digests_default = {
  "linux-x64": "d6e214b5d3eefcbd0a67cb28ea57af957cfb7b56dfb6a62080863df6df1ae113",
  "linux-x64-musl": "d93d46de943f2014ffc91196172d9303fd81f486b007fe5656e3ed8ef826b5a1",
  "linux-arm64": "04df120912eec4fb3643b840d288cd91347c68006382ed35ed4533b11afbf61c",
  "linux-arm64-musl": "b7a66226880988edc0a0a9ba8053e657a31f3cf835907b0cd69963f333707b7e",
};

// packaging/action/release.ts
var RELEASES = { [version]: digests_default };
var LATEST = version;
var addressOf = (target, release) =>
  `https://registry.npmjs.org/responses-api-proxy-${target}/-/responses-api-proxy-${target}-${release}.tgz`;
var INSTALLED = "/usr/local/bin/responses-api-proxy";
var SUDO = "/usr/bin/sudo";

// packaging/action/runner.ts
import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";

class Failure extends Error {}
function takeInput(name) {
  const variable = `INPUT_${name.toUpperCase()}`;
  const value = process.env[variable] ?? "";
  delete process.env[variable];
  return value.trim();
}
function variable(name) {
  const value = process.env[name];
  if (!value) throw new Failure(`${name} is not set: this is for a runner of GitHub Actions`);
  return value;
}
function setOutput(name, value) {
  const end = randomUUID();
  appendFileSync(
    variable("GITHUB_OUTPUT"),
    `${name}<<${end}
${value}
${end}
`,
  );
}
function mask(secret) {
  command("add-mask", secret);
}
function warn(text) {
  command("warning", text);
}
function fail(error) {
  command("error", error instanceof Failure ? error.message : `internal error (${error.name})`);
  process.exitCode = 1;
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

// packaging/action/program.ts
var IN_PACKAGE = "package/bin/responses-api-proxy";
var MAX_BYTES = 512 * 1024 * 1024;
var TRIES = 3;
var LIMIT_MS = 120000;
var CLEAN = { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }, cwd: "/" };
async function fetchProgram(version) {
  const release = version || LATEST;
  const digests = Object.hasOwn(RELEASES, release) ? RELEASES[release] : undefined;
  if (digests === undefined)
    throw new Failure(
      `version ${JSON.stringify(release)}: this release of the action knows ${Object.keys(RELEASES).join(", ")}`,
    );
  const target = targetHere();
  const program = unpack(await download(addressOf(target, release)));
  const digest = createHash("sha256").update(program).digest("hex");
  if (digest !== digests[target])
    throw new Failure(`the program for ${target} has the SHA-256 ${digest}, and not ${digests[target]}`);
  return program;
}
function targetHere() {
  const { platform, arch } = process;
  if (platform !== "linux" || (arch !== "x64" && arch !== "arm64"))
    throw new Failure(`only Linux on x64 and arm64 is supported, not ${platform} on ${arch}`);
  const loader = arch === "x64" ? "/lib64/ld-linux-x86-64.so.2" : "/lib/ld-linux-aarch64.so.1";
  return `linux-${arch}${existsSync(loader) ? "" : "-musl"}`;
}
async function download(address) {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(address, { signal: AbortSignal.timeout(LIMIT_MS) });
      if (response.ok) return Buffer.from(await response.arrayBuffer());
      throw new Error(`status ${response.status}`);
    } catch (error) {
      const { cause, message } = error;
      if (attempt === TRIES) throw new Failure(`${address} cannot be fetched: ${cause?.code ?? message}`);
    }
  }
}
function unpack(tarball) {
  const tar = gunzip(tarball);
  const textAt = (start, length) => tar.toString("latin1", start, start + length).replace(/\0.*$/s, "");
  for (let header = 0; header + 512 <= tar.length;) {
    const size = Number.parseInt(textAt(header + 124, 12), 8) || 0;
    const [start, kind] = [header + 512, textAt(header + 156, 1)];
    if (textAt(header, 100) === IN_PACKAGE && (kind === "0" || kind === ""))
      return tar.subarray(start, start + size);
    header = start + Math.ceil(size / 512) * 512;
  }
  throw new Failure(`there is no ${IN_PACKAGE} in the package`);
}
function gunzip(tarball) {
  try {
    return gunzipSync(tarball, { maxOutputLength: MAX_BYTES });
  } catch {
    throw new Failure("the package is no gzip file, or too large");
  }
}
var INSTALL = `set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "0:$2" "$new"
chmod 0710 "$new"
if [ "$2" != 0 ]; then setcap cap_ipc_lock=ep "$new" || echo no-setcap; fi
mv -T "$new" "$1"`;
function install(program, directory) {
  const isRoot = process.getuid() === 0;
  if (isRoot || runAsRoot("true", []).status === 0) {
    const { status, stdout, stderr } = runAsRoot(INSTALL, [INSTALLED, String(process.getgid())], program);
    if (status !== 0) throw new Failure(`${INSTALLED} cannot be written: ${stderr.trim()}`);
    if (stdout.includes("no-setcap"))
      warn(
        "setcap failed: the proxy's memory may not be locked, and copies of the key may be written to the swap device",
      );
    return INSTALLED;
  }
  const path = `${directory}/responses-api-proxy`;
  writeFileSync(path, program, { mode: 320, flag: "wx" });
  warn(
    "there is no sudo here: the program's file is this user's, so its memory may not be locked, and a process of this user that runs already can get at the key during the start",
  );
  return path;
}
function runAsRoot(script, args, input = "") {
  const words = ["/bin/sh", "-c", script, "sh", ...args];
  const [command = "", ...rest] = process.getuid() === 0 ? words : [SUDO, "-n", ...words];
  return spawnSync(command, rest, { ...CLEAN, input, encoding: "utf8" });
}

// packaging/action/started.ts
import { randomUUID as randomUUID2 } from "node:crypto";
import {
  appendFileSync as appendFileSync2,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
var file = () => join(variable("RUNNER_TEMP"), "responses-api-proxy.started");
function note(started) {
  appendFileSync2(
    file(),
    `${JSON.stringify(started)}
`,
    { mode: 384 },
  );
}
function publish(serverInfo, published) {
  const temporary = `${published}.${randomUUID2()}`;
  try {
    mkdirSync(dirname(published), { recursive: true });
    copyFileSync(serverInfo, temporary, constants.COPYFILE_EXCL);
    renameSync(temporary, published);
  } catch (error) {
    throw new Failure(`server-info cannot be written: ${error.code}`);
  }
}
function startTimeOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[19];
  } catch {
    return;
  }
}

// packaging/action/main.ts
var FOREIGN_CODE = /(^|\s)(-r|--require|--import|--loader|--experimental-loader|--inspect\S*)(=|\s|$)/;
var PASSED = [
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
var OIDC = ["oidc-audience", "identity-provider-id", "service-account-id"];
async function main() {
  if (FOREIGN_CODE.test(process.env["NODE_OPTIONS"] ?? ""))
    throw new Failure("NODE_OPTIONS loads other code into this step, which has the key: leave it out");
  const secret = takeSecret();
  mask(secret.text);
  const upstream = takeInput("upstream-url");
  const version = takeInput("version");
  const lifetime = takeInput("lifetime");
  const strict = isTrue("strict", takeInput("strict"));
  const published = resolve(
    takeInput("server-info") || join2(variable("HOME"), ".codex", `${variable("GITHUB_RUN_ID")}.json`),
  );
  const directory = mkdtempSync(join2(variable("RUNNER_TEMP"), "responses-api-proxy-"));
  const log = join2(directory, "log");
  const serverInfo = join2(directory, "proxy", "server-info.json");
  const program = install(await fetchProgram(version), directory);
  start(program, secret, [
    `--server-info=${serverInfo}`,
    `--log-file=${log}`,
    ...(lifetime === "" ? [] : [`--lifetime=${lifetime}`]),
    ...(upstream === "" ? [] : [`--upstream-url=${upstream}`]),
    ...(strict ? ["--strict"] : []),
  ]);
  const { port, pid } = JSON.parse(readFileSync2(serverInfo, "utf8"));
  note({ pid, since: startTimeOf(pid), log, published });
  publish(serverInfo, published);
  setOutput("base-url", `http://127.0.0.1:${port}`);
  setOutput("port", port);
  setOutput("server-info", published);
}
function takeSecret() {
  const key = takeInput("openai-api-key");
  const given = OIDC.map((name) => [name, takeInput(name)]);
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
function start(program, { text, flags }, more) {
  const env = Object.fromEntries(
    PASSED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
  );
  const { status, error } = spawnSync2(program, ["--background", ...flags, ...more], {
    env,
    cwd: "/",
    input: `${text}
`,
    stdio: ["pipe", "inherit", "inherit"],
  });
  if (error !== undefined) throw new Failure(`${program} cannot be executed: ${error.code}`);
  if (status !== 0)
    throw new Failure(`the proxy did not start (exit code ${status}): the lines above say why`);
}
function isTrue(name, value) {
  if (/^(true|True|TRUE)$/.test(value)) return true;
  if (/^(false|False|FALSE)?$/.test(value)) return false;
  throw new Failure(`${name} must be true or false`);
}
await main().catch(fail);
