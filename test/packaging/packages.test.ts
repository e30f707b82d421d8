// The npm packages, packed and installed for real: their files, how they start the program, and that no directory can hijack them.

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";

import { dependencies, version } from "../../package.json";
import { manualPage } from "../../packaging/manual.ts";
import { NOTICES, notices } from "../../packaging/notices.ts";
import { packageOf, writeMainPackage, writeTargetPackage } from "../../packaging/npm.ts";
import { type Target, TARGETS } from "../../packaging/targets.ts";
import { BINARY, Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { Registry } from "../harness/registry.ts";

const HERE = TARGETS.find(({ cpu, libc }) => cpu === process.arch && libc === "glibc")!;
const ELSEWHERE = TARGETS.filter((target) => target !== HERE);
const SMOKE = resolve("packaging/smoke.ts");

const MAIN = "responses-api-proxy";

const home = temporaryDirectory();
/** The packages' folders. A script that executes the program stands in for it: npm takes seconds to compress 110 MB. */
const packages = join(home, "packages");
const registry = new Registry();
/** Package → its tarball, as npm packs it. */
const tarballs: Record<string, string> = {};
/** A directory under a hostile one, with both packages installed by npm: the launcher, and the program itself. */
let project: string;

/** The tester's own: bunx would start an installed program that it finds there, and fetch none. */
const installed = (directory: string): boolean =>
  directory !== "/usr/bin" && existsSync(join(directory, "responses-api-proxy"));
const PATH = process.env["PATH"]!.split(":").filter((directory) => !installed(directory));

/** Returns an environment whose package caches are below `caches`. */
const environmentOf = (caches: string) => ({
  PATH: [resolve("node_modules/.bin"), ...PATH].join(":"),
  HOME: home,
  npm_config_registry: registry.url,
  npm_config_update_notifier: "false",
  npm_config_audit: "false",
  npm_config_fund: "false",
  npm_config_cache: join(caches, "npm"),
  BUN_INSTALL_CACHE_DIR: join(caches, "bun"),
  TMPDIR: caches,
});
const environment = environmentOf(home);

/** From empty caches npm and bunx take some seconds on a quiet machine, and many times as long beside other tests. */
const SECONDS = 100;
setDefaultTimeout(1000 * 2 * SECONDS);

/** Runs a command to its end and returns its standard output. */
async function run(command: string[], cwd: string, env = environment): Promise<string> {
  const [binary = "", ...args] = command;
  const { exitCode, stdout, stderr } = await runProgram({ binary, args, cwd, env, seconds: SECONDS });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}:\n${stdout}${stderr}`);
  return stdout;
}

/** Runs the smoke test on a command that starts in `cwd`; the smoke test itself runs in a harmless directory. */
function smoke(cwd: string, ...command: string[]): Promise<string> {
  return run(["bun", SMOKE, "sh", "-c", `cd '${cwd}' && exec "$0" "$@"`, ...command], home);
}

const manifestOf = (name: string) => JSON.parse(readFileSync(join(packages, name, "package.json"), "utf8"));

async function pack(...names: string[]): Promise<void> {
  const folders = names.map((name) => join(packages, name));
  const files = await run(["npm", "pack", "--silent", `--pack-destination=${home}`, ...folders], home);
  for (const [index, file] of files.trim().split("\n").entries()) {
    const name = names[index]!;
    tarballs[name] = join(home, file);
    registry.add(manifestOf(name), tarballs[name]);
  }
}

/** Makes an uncompressed tarball of the package with the program itself. */
async function packProgram(): Promise<string> {
  const [folders, tarball] = [join(home, "whole"), join(home, "whole.tar")];
  writeTargetPackage(HERE, BINARY, folders);
  await run(["tar", "-cf", tarball, packageOf(HERE)], folders);
  return tarball;
}

/** Makes a directory whose files try to hijack programs that start in it or below; success leaves a file `taken`. */
function hostileDirectory(): string {
  const directory = temporaryDirectory();
  const taken = join(directory, "taken");
  writeFileSync(join(directory, "bunfig.toml"), `preload = ["${directory}/evil.ts"]\n`);
  writeFileSync(join(directory, "evil.ts"), `require("node:fs").writeFileSync("${taken}", "code");\n`);
  writeFileSync(
    join(directory, "tsconfig.json"),
    `{"compilerOptions":{"paths":{"*":["${directory}/evil.ts"]}}}`,
  );
  writeFileSync(
    join(directory, ".env"),
    `BUN_OPTIONS=--preload=${directory}/evil.ts\nHTTPS_PROXY=http://127.0.0.1:1\n`,
  );
  return directory;
}

/** Puts programs with the system's names into node_modules/.bin, which npx and bunx put first in PATH (npx would start its sh). */
function plantPrograms(directory: string): string {
  const bin = join(directory, "node_modules/.bin");
  mkdirSync(bin, { recursive: true });
  for (const name of ["uname", "readlink", "sh", "dirname"]) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho ${name} > ${directory}/taken\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

beforeAll(async () => {
  const script = join(home, "program");
  writeFileSync(script, `#!/bin/sh\nexec '${BINARY}' "$@"\n`);
  writeMainPackage(packages);
  writeTargetPackage(HERE, script, packages);
  await pack(MAIN, packageOf(HERE));
  for (const target of ELSEWHERE) registry.add({ ...manifestOf(packageOf(HERE)), ...fieldsOf(target) });
  project = join(hostileDirectory(), "project");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), "{}");
  await run(["npm", "install", tarballs[MAIN]!, await packProgram()], project);
});

const fieldsOf = (target: Target) => ({ name: packageOf(target), cpu: [target.cpu], libc: [target.libc] });

const bin = (): string => join(project, "node_modules/.bin/responses-api-proxy");

describe("what is packed", () => {
  const contents = async (name: string): Promise<string[]> => {
    const files = (await run(["tar", "-tzf", tarballs[name]!], home)).trim().split("\n");
    return files.map((file) => file.replace("package/", "")).sort();
  };

  test("the launcher and its documents; no program, no source", async () => {
    expect(await contents(MAIN)).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      NOTICES,
      "bin/responses-api-proxy",
      "man/responses-api-proxy.1",
      "package.json",
    ]);
  });

  test("the program, beside it nothing but its licences", async () => {
    expect(await contents(packageOf(HERE))).toEqual([
      "LICENSE",
      NOTICES,
      "bin/responses-api-proxy",
      "package.json",
    ]);
  });

  test("nothing runs at installation, and each package is limited to its machine", () => {
    const main = manifestOf(MAIN);
    expect(main.scripts).toBeUndefined();
    expect(main.dependencies).toBeUndefined();
    expect(main.optionalDependencies).toEqual(
      Object.fromEntries(TARGETS.map((target) => [packageOf(target), version])),
    );
    expect(manifestOf(packageOf(HERE))).toMatchObject({
      version,
      os: ["linux"],
      cpu: [HERE.cpu],
      libc: [HERE.libc],
    });
    expect(manifestOf(packageOf(HERE)).scripts).toBeUndefined();
  });

  test("the notices are those of the dependencies, the changelog has the version", () => {
    expect(readFileSync(NOTICES, "utf8")).toBe(notices());
    expect(readFileSync("CHANGELOG.md", "utf8")).toContain(`\n## ${version}\n`);
  });
});

describe("installed under a hostile directory", () => {
  const untouched = (): void => expect(existsSync(join(project, "../taken"))).toBe(false);

  test.each([[["npx"]], [["bunx"]]])("%p starts it: ready, forwards, refuses, ends", async (command) => {
    expect(await smoke(project, ...command, "responses-api-proxy")).toContain("forwards, refuses, ends");
    untouched();
  });

  test.each([[["npx", "--yes"]], [["bunx"]]])(
    "%p starts it from the registry, and fetches one program only",
    async (command) => {
      const elsewhere = join(hostileDirectory(), "elsewhere");
      mkdirSync(elsewhere);
      registry.asked.length = 0;
      const start = ["sh", "-c", `cd ${elsewhere} && exec "$0" "$@"`, ...command, "responses-api-proxy"];
      expect(await run(["bun", SMOKE, ...start], home, environmentOf(temporaryDirectory()))).toContain(
        "refuses, ends",
      );
      expect(registry.asked.filter((path) => path.endsWith(".tgz") && path.includes("-linux-"))).toEqual([
        `${packageOf(HERE)}/${packageOf(HERE)}.tgz`,
      ]);
      expect(existsSync(join(elsewhere, "../taken"))).toBe(false);
    },
  );

  test.each([[["npx"]], [["bunx"]]])(
    "%p runs a command with it, whose exit code it passes on",
    async (command) => {
      const [binary = ""] = command;
      const { exitCode, stdout, stderr } = await runProgram({
        binary,
        args: ["responses-api-proxy", "run", "--", "sh", "-c", 'echo "$OPENAI_BASE_URL"; exit 7'],
        cwd: project,
        env: environment,
        input: "sk-0123456789abcdefghij",
        seconds: SECONDS,
      });
      expect({ exitCode, stderr }).toEqual({ exitCode: 7, stderr: expect.stringContaining("ended after") });
      expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1\n$/);
      untouched();
    },
  );

  test("a global installation starts it, and has the manual page", async () => {
    const prefix = temporaryDirectory();
    await run(["npm", "install", "--global", `--prefix=${prefix}`, ...Object.values(tarballs)], home);
    expect(await smoke(home, join(prefix, "bin/responses-api-proxy"))).toContain("refuses, ends");
    // Where man(1) looks if the program's directory is in PATH (manpath(1)).
    expect(readFileSync(join(prefix, "share/man/man1/responses-api-proxy.1"), "utf8")).toBe(manualPage());
  });

  test("in the hostile directory itself, whose programs come first in PATH", async () => {
    const cwd = join(project, "..");
    const env = { PATH: `${plantPrograms(cwd)}:/usr/bin:/bin` };
    const proxy = await Proxy.start({ binary: bin(), cwd, env, args: ["--server-info", "info.json"] });
    // Paths are relative to the directory of the start, and the pid is the same: the launcher became the program.
    expect(JSON.parse(readFileSync(join(cwd, "info.json"), "utf8"))).toEqual({
      port: proxy.port,
      pid: proxy.pid,
    });
    expect((await proxy.stop()).exitCode).toBe(0);
    untouched();
  });

  test("arguments and exit codes pass", async () => {
    const ended = await runProgram({ binary: bin(), args: ["--version"] });
    expect(ended).toMatchObject({
      exitCode: 0,
      stdout: `responses-api-proxy ${version} (Bun ${Bun.version}, built for linux ${process.arch})\n`,
    });
    expect((await runProgram({ binary: bin(), args: ["--port", "a b"] })).stderr).toContain("got 'a b'");
    expect((await runProgram({ binary: bin(), args: ["--bogus"] })).exitCode).toBe(2);
  });
});

describe("if there is no program for the machine: one line, a hint, exit code 1", () => {
  /** Installs the launcher alone, or with another machine's package. */
  function installed(other?: string): string {
    const modules = join(temporaryDirectory(), "node_modules");
    cpSync(join(packages, MAIN), join(modules, MAIN), { recursive: true });
    if (other !== undefined)
      cpSync(join(packages, packageOf(HERE)), join(modules, other), { recursive: true });
    mkdirSync(join(modules, ".bin"));
    symlinkSync("../responses-api-proxy/bin/responses-api-proxy", join(modules, ".bin/responses-api-proxy"));
    return join(modules, ".bin/responses-api-proxy");
  }

  const foreign = TARGETS.find(({ cpu }) => cpu !== HERE.cpu)!;

  test("the neighbour: the other libc's program starts if its loader is here", async () => {
    const musl = TARGETS.find(({ cpu, libc }) => cpu === HERE.cpu && libc === "musl")!;
    const launcher = installed(packageOf(musl));
    const text = readFileSync(launcher, "utf8");
    // Stands in for musl's loader, which this machine hardly has.
    writeFileSync(launcher, text.replaceAll(/musl=\S+/g, "musl=/bin/sh"));
    expect((await runProgram({ binary: launcher, args: ["--version"] })).exitCode).toBe(0);
    const loader = "/nowhere/ld-musl.so.1";
    writeFileSync(launcher, text.replaceAll(/musl=\S+/g, `musl=${loader}`));
    expect(await runProgram({ binary: launcher, args: ["--version"] })).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: the installed program is for musl, whose ${loader} is not here\nresponses-api-proxy: hint: install again without --libc=musl\n`,
    });
  });

  test.each([undefined, packageOf(foreign)])("installed beside it: %p", async (other) => {
    const launcher = installed(other);
    const { exitCode, stdout, stderr } = await runProgram({ binary: launcher, args: ["--version"] });
    const where = resolve(launcher, "../../responses-api-proxy");
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `responses-api-proxy: error: the package ${packageOf(HERE)} is not installed beside ${where}\nresponses-api-proxy: hint: install again on this machine, with optional dependencies\n`,
    });
  });

  test("node, with which Yarn runs it", async () => {
    const start = { binary: Bun.which("node")!, args: [installed(packageOf(HERE)), "--version"] };
    expect(await runProgram(start)).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr:
        "responses-api-proxy: error: this is a script for sh, and node runs it, as Yarn has it do\nresponses-api-proxy: hint: start node_modules/.bin/responses-api-proxy, or install it with npm\n",
    });
  });

  test("another system", async () => {
    const pretend = 'command() { case "$*" in *uname\\ -s) echo Darwin ;; *) echo arm64 ;; esac; }';
    const { exitCode, stderr } = await runProgram({
      binary: "/bin/sh",
      args: ["-c", `${pretend}; . ${installed()}`],
    });
    expect(exitCode).toBe(1);
    expect(stderr.split("\n")[0]).toBe(
      "responses-api-proxy: error: only Linux on x64 and arm64 is supported, not Darwin on arm64",
    );
  });
});

test("an x64 processor that is too old: one line, a hint, exit code 1", async () => {
  const launcher = `${import.meta.dir}/../../packaging/launcher.sh`;
  for (const feature of ["sse4_2", "popcnt"]) {
    const pretend = `command() { case "$*" in *uname\\ -m) echo x86_64 ;; *grep*${feature}*) return 1 ;; *) shift; "$@" ;; esac; }`;
    const args = ["-c", `${pretend}; . "$0"`, launcher];
    expect(await runProgram({ binary: "/bin/sh", args })).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr: `responses-api-proxy: error: this processor has no ${feature}, which the program requires (x86-64-v2)\nresponses-api-proxy: hint: in a virtual machine, choose another processor model, such as the host's own\n`,
    });
  }
});

test.skipIf(Bun.which("bash") === null)(
  "bash finds the script in PATH by its name: nothing of the working directory is executed",
  async () => {
    const [bin, hostile] = [temporaryDirectory(), temporaryDirectory()];
    cpSync(`${import.meta.dir}/../../packaging/launcher.sh`, join(bin, MAIN));
    for (const target of [HERE, ...ELSEWHERE]) {
      const program = join(hostile, packageOf(target), "bin", MAIN);
      mkdirSync(dirname(program), { recursive: true });
      writeFileSync(program, `#!/bin/sh\necho taken\n`, { mode: 0o755 });
    }
    const env = { PATH: `${bin}:/usr/bin:/bin` };
    expect(await runProgram({ binary: "bash", args: [MAIN, "--version"], cwd: hostile, env })).toEqual({
      exitCode: 1,
      signal: null,
      stdout: "",
      stderr:
        "responses-api-proxy: error: 'responses-api-proxy' is no path, so the installed program cannot be found from it\n" +
        "responses-api-proxy: hint: start responses-api-proxy by itself, without a shell before it\n",
    });
  },
);

describe("the smoke test recognizes", () => {
  const smokes = async (script: string): Promise<string> => {
    const program = join(temporaryDirectory(), "program");
    writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return run(["bun", SMOKE, program], home).then(
      () => "fit for use",
      (error: Error) => error.message,
    );
  };

  test.each([
    ["a program that ends at once", "exit 3", "exited with 3 before it was ready"],
    [
      "one that shows the key",
      `(read -r key; echo "$key" >&2; echo "$key") | '${BINARY}' "$@"`,
      "the key is in the output",
    ],
    [
      "one that sends another key",
      `(cat >/dev/null; echo sk-other) | '${BINARY}' "$@"`,
      "the upstream does not get the key",
    ],
    ["one with a wrong exit code", `'${BINARY}' "$@"; exit 4`, "the exit code is 4"],
    ["one that works", `exec '${BINARY}' "$@"`, "fit for use"],
  ])("%s", async (_what, script, told) => {
    expect(await smokes(script)).toContain(told);
  });
});

test("the same source gives the same bytes in another directory", async () => {
  const copy = join(temporaryDirectory(), "copy");
  for (const path of ["src", "native", "packaging", "package.json", "tsconfig.json"])
    cpSync(path, join(copy, path), { recursive: true });
  // Copies, as after an installation: the path from the entry point to a module is compiled in.
  for (const name of Object.keys(dependencies))
    cpSync(`node_modules/${name}`, join(copy, "node_modules", name), { recursive: true });
  await run(["bun", "packaging/build.ts"], copy);
  // Throws at the first byte that differs.
  await run(["cmp", "dist/responses-api-proxy", BINARY], copy);
  rmSync(copy, { recursive: true });
});
