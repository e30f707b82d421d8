// Compiles the program: for this machine and, with --all, for every target, around runtimes whose checksums are in bun.lock.

import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

import { type Target, TARGETS } from "./targets.ts";

/** How the program is compiled, as arguments of `bun build`. docs/bun.md has the figures. */
export const FLAGS: readonly string[] = [
  "--compile",
  // Subcommands and --help are loaded on demand, not at every start.
  "--splitting",
  "--minify",
  // Parsed at build time, for a faster start.
  "--bytecode",
  "--format=esm",
  // Nothing is read from the working directory.
  "--no-compile-autoload-bunfig",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-tsconfig",
  "--no-compile-autoload-package-json",
  // --smol: a smaller heap. Strict: no `eval`. 64 KiB: the largest head of a request.
  "--compile-exec-argv=--smol --disallow-code-generation-from-strings=strict --max-http-header-size=65536",
];

const NAME = "responses-api-proxy";
/** Everything that is built goes here. */
const DIST = "dist";

/** Where `npm run build:all` puts a target's program. */
export const programOf = ({ name }: Target, directory = DIST): string =>
  `${directory}/responses-api-proxy-${name}`;

/**
 * `process.arch` and `process.platform` of the target. Otherwise the bundler inserts those of the building machine (Bun 1.4.5), and the
 * program uses the system call numbers of another processor.
 */
const definesOf = (cpu: string): string[] => [
  `--define=process.arch=${JSON.stringify(cpu)}`,
  `--define=process.platform="linux"`,
];

/** Compiles the program into `outfile` for the processor `cpu`, around `runtime` or else the Bun that runs this. Throws if that fails. */
function compile(outfile: string, cpu: string = process.arch, runtime?: string): void {
  const around = runtime === undefined ? [] : [`--compile-executable-path=${runtime}`];
  run(["build", "src/main.ts", ...FLAGS, ...definesOf(cpu), ...around, `--outfile=${outfile}`]);
}

/** Compiles the program for every target into `directory`, and writes SHA256SUMS there. Throws if that fails. */
export function compileAll(directory = DIST): void {
  const runtimes = `${directory}/runtimes`;
  installRuntimes(runtimes);
  for (const target of TARGETS) {
    // The name is compiled in, so it is always the same, and the file is renamed: the same source gives the same bytes.
    const outfile = `${runtimes}/${NAME}`;
    compile(outfile, target.cpu, `${runtimes}/node_modules/${target.runtime}/bin/bun`);
    renameSync(outfile, programOf(target, directory));
  }
  rmSync(runtimes, { recursive: true });
  writeChecksums(directory);
}

/** Writes SHA256SUMS of the programs in `directory`. */
function writeChecksums(directory: string): void {
  const programs = TARGETS.map((target) => basename(programOf(target)));
  // Bun's SHA-256 takes a tenth of the time of sha256sum(1), which may do without the processor's instructions for it.
  const lines = programs.map((program) => {
    const digest = new Bun.CryptoHasher("sha256")
      .update(readFileSync(`${directory}/${program}`))
      .digest("hex");
    return `${digest}  ${program}\n`;
  });
  writeFileSync(`${directory}/SHA256SUMS`, lines.join(""));
}

/** Adds files of `directory` to its SHA256SUMS, or replaces what that has for them. */
export function addChecksums(files: readonly string[], directory = DIST): void {
  const names = files.map((file) => basename(file));
  const sums = `${directory}/SHA256SUMS`;
  const others = readFileSync(sums, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !names.includes(line.slice(66)));
  const lines = files.map((file) => {
    const digest = new Bun.CryptoHasher("sha256").update(readFileSync(file)).digest("hex");
    return `${digest}  ${basename(file)}`;
  });
  writeFileSync(sums, `${[...others, ...lines].join("\n")}\n`);
}

/**
 * Installs the runtimes of all targets as packages, so that each is compared with its checksum in bun.lock. `bun build --target` fetches
 * the same packages and compares them with nothing (Bun 1.4.5).
 */
function installRuntimes(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const file of ["package.json", "bun.lock"]) copyFileSync(file, `${directory}/${file}`);
  const targets = ["--os=linux", "--cpu=*", "--libc=*"];
  run(["install", `--cwd=${directory}`, "--frozen-lockfile", "--ignore-scripts", ...targets]);
}

function run(args: string[]): void {
  const { exitCode } = Bun.spawnSync([process.execPath, ...args], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) throw new Error(`bun ${args[0]} exited with ${exitCode}`);
}

if (import.meta.main) {
  compile(`${DIST}/${NAME}`);
  if (process.argv.includes("--all")) compileAll();
}
