// The npm packages: one with the launcher, for everybody, and one per target with the program. npm installs the one that fits the machine
// (os, cpu and libc in package.json; https://docs.npmjs.com/cli/v11/configuring-npm/package-json)

import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";

import { description, license, name, version } from "../package.json";
import { programOf } from "./build.ts";
import { manualPage } from "./manual.ts";
import { type Target, TARGETS } from "./targets.ts";

/** The folders to pack: `dist/npm/<package>`. */
const PACKAGES = "dist/npm";

export const packageOf = (target: Target): string => `${name}-${target.name}`;

/** Copied into every package. */
const LEGAL = ["LICENSE", "THIRD-PARTY-NOTICES"];
/** npm links it into PREFIX/share/man at a global installation, where man(1) looks if PREFIX/bin is in PATH. */
const MANUAL = `man/${name}.1`;

/** Writes the folder of the package that users install. It requires exactly its own version of the targets' packages. */
export function writeMainPackage(packages = PACKAGES): void {
  const files = {
    "bin/responses-api-proxy": "packaging/launcher.sh",
    "README.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    [MANUAL]: Buffer.from(manualPage()),
  };
  writePackage(`${packages}/${name}`, files, {
    description,
    // Windows has no sh for the launcher: npm refuses to install it there.
    os: ["!win32"],
    bin: { [name]: "bin/responses-api-proxy" },
    man: [MANUAL],
    optionalDependencies: Object.fromEntries(TARGETS.map((target) => [packageOf(target), version])),
  });
}

/** Writes the folder of a target's package, with the compiled program in it. */
export function writeTargetPackage(target: Target, program = programOf(target), packages = PACKAGES): void {
  writePackage(
    `${packages}/${packageOf(target)}`,
    { "bin/responses-api-proxy": program },
    {
      description: `responses-api-proxy for Linux on ${target.cpu} with ${target.libc}`,
      os: ["linux"],
      cpu: [target.cpu],
      libc: [target.libc],
      // Yarn: unpack the package, because a program in a zip file cannot be executed.
      preferUnplugged: true,
    },
  );
}

/** `files`: path in the package → the path of a file, or bytes. */
function writePackage(folder: string, files: Record<string, string | Uint8Array>, fields: object): void {
  rmSync(folder, { recursive: true, force: true });
  for (const [to, from] of [...Object.entries(files), ...LEGAL.map((file) => [file, file] as const)]) {
    mkdirSync(dirname(`${folder}/${to}`), { recursive: true });
    if (typeof from === "string") copyFileSync(from, `${folder}/${to}`);
    else writeFileSync(`${folder}/${to}`, from);
    chmodSync(`${folder}/${to}`, to.startsWith("bin/") ? 0o755 : 0o644);
  }
  const identity = { name: basename(folder), version, license };
  const json = { ...identity, ...repository(), ...fields, files: [...Object.keys(files), ...LEGAL] };
  writeFileSync(`${folder}/package.json`, `${JSON.stringify(json, undefined, 2)}\n`);
}

/** The repository that a release is built from, which npm compares with the provenance. Known only in the workflow. */
function repository(): object {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: path } = process.env;
  if (server === undefined || path === undefined) return {};
  return { repository: { type: "git", url: `git+${server}/${path}.git` } };
}

if (import.meta.main) {
  writeMainPackage();
  for (const target of TARGETS) writeTargetPackage(target);
}
