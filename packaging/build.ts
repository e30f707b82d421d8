// The compiled program: for this machine, and with --all for every target, from runtimes whose checksums stand in bun.lock.

import { copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

import { type Target, TARGETS } from "./targets.ts";

/** How the program is compiled, as arguments of `bun build`. */
export const FLAGS: readonly string[] = [
  "--compile",
  // What is imported when it is needed (subcommands, --help) is loaded then; without it, at every start.
  "--splitting",
  "--minify",
  // Read and compiled when it is built; without it a start takes half as long again.
  "--bytecode",
  "--format=esm",
  // Nothing is taken from the directory the program is started in.
  "--no-compile-autoload-bunfig",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-tsconfig",
  "--no-compile-autoload-package-json",
  // Until src/run.ts says otherwise: what runs once is not worth compiling further.
  "--compile-jit-policy=8",
  // --smol: a smaller heap, collected more often: 13 % less memory under load, 2 % less processor time (medians of 20 pairs).
  // Tried and left out, for within 1 % of nothing or worse: one GC marker, no concurrent GC, no generational GC, a larger heap, no FTL
  // (BUN_JSC_*, 7 pairs each); no DFG and no concurrent JIT take 3 % more; --bytecode-order starts 1 % sooner, with a file to keep true.
  "--compile-exec-argv=--smol --disallow-code-generation-from-strings=strict --max-http-header-size=65536",
];

const NAME = "responses-api-proxy";
/** Where everything that is built goes. */
const DIST = "dist";

/** Where `npm run build:all` puts a target's program. */
export const programOf = ({ name }: Target, directory = DIST): string =>
  `${directory}/responses-api-proxy-${name}`;

/**
 * `process.arch` and `process.platform` as the target has them. Without this the bundler puts the building machine's in their place, also
 * around another target's runtime (Bun 1.4.5), and the file asks the kernel for another processor's system calls.
 */
const definesOf = (cpu: string): string[] => [
  `--define=process.arch=${JSON.stringify(cpu)}`,
  `--define=process.platform="linux"`,
];

/** Compiles the program into `outfile`, for that processor and around that runtime; for this machine, around the one that runs this. Throws if that fails. */
function compile(outfile: string, cpu: string = process.arch, runtime?: string): void {
  const around = runtime === undefined ? [] : [`--compile-executable-path=${runtime}`];
  run(["build", "src/main.ts", ...FLAGS, ...definesOf(cpu), ...around, `--outfile=${outfile}`]);
}

/** Compiles every target's program into the directory, with SHA256SUMS of them. Throws if that fails. */
export async function compileAll(directory = DIST): Promise<void> {
  const runtimes = `${directory}/runtimes`;
  installRuntimes(runtimes);
  for (const target of TARGETS) {
    // Always under the same name, because the name is compiled in, and then renamed: the same source, the same bytes.
    const outfile = `${runtimes}/${NAME}`;
    compile(outfile, target.cpu, `${runtimes}/node_modules/${target.runtime}/bin/bun`);
    renameSync(outfile, programOf(target, directory));
  }
  rmSync(runtimes, { recursive: true });
  await writeChecksums(directory);
}

/** As sha256sum(1) writes and checks it. */
async function writeChecksums(directory: string): Promise<void> {
  const lines: string[] = [];
  for (const target of TARGETS) {
    const program = programOf(target, directory);
    const digest = new Bun.CryptoHasher("sha256").update(await Bun.file(program).bytes());
    lines.push(`${digest.digest("hex")}  ${basename(program)}\n`);
  }
  writeFileSync(`${directory}/SHA256SUMS`, lines.join(""));
}

/**
 * The targets' runtimes, as packages: the package manager compares each with its checksum in bun.lock, which `bun build --target`
 * (1.4.5), fetching the same packages by itself, has no way to be told.
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
  if (exitCode !== 0) throw new Error(`bun ${args[0]} ended with ${exitCode}`);
}

if (import.meta.main) {
  compile(`${DIST}/${NAME}`);
  if (process.argv.includes("--all")) await compileAll();
}
