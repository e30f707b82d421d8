// The npm packages: one with the launcher, which all install, and one per target with the program, of which npm installs what fits.
// (os, cpu and libc in package.json; https://docs.npmjs.com/cli/v11/configuring-npm/package-json)

import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

import { description, license, name, version } from "../package.json";
import { programOf } from "./build.ts";
import { type Target, TARGETS } from "./targets.ts";

/** Folders as they are packed: `dist/npm/<package>`. */
export const PACKAGES = "dist/npm";

export const packageOf = (target: Target): string => `${name}-${target.name}`;

/** Copied into every package. */
const LEGAL = ["LICENSE", "THIRD-PARTY-NOTICES"];

/** Writes the folder of the package that users name. The targets' packages are of the same version, exactly. */
export function writeMainPackage(): void {
  const files = {
    "bin/responses-api-proxy": "packaging/launcher.sh",
    "README.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
  };
  writePackage(name, files, {
    description,
    // Windows has no sh to run the launcher; npm says so in its place.
    os: ["!win32"],
    bin: { [name]: "bin/responses-api-proxy" },
    optionalDependencies: Object.fromEntries(TARGETS.map((target) => [packageOf(target), version])),
  });
}

/** Writes the folder of a target's package around a compiled program. */
export function writeTargetPackage(target: Target, program = programOf(target)): void {
  writePackage(
    packageOf(target),
    { "bin/responses-api-proxy": program },
    {
      description: `responses-api-proxy for Linux on ${target.cpu} with ${target.libc}`,
      os: ["linux"],
      cpu: [target.cpu],
      libc: [target.libc],
      // A program cannot be executed from inside a zip file (Yarn).
      preferUnplugged: true,
    },
  );
}

function writePackage(packageName: string, files: Record<string, string>, fields: object): void {
  const folder = `${PACKAGES}/${packageName}`;
  rmSync(folder, { recursive: true, force: true });
  for (const [to, from] of [...Object.entries(files), ...LEGAL.map((file) => [file, file] as const)]) {
    mkdirSync(dirname(`${folder}/${to}`), { recursive: true });
    copyFileSync(from, `${folder}/${to}`);
    chmodSync(`${folder}/${to}`, to.startsWith("bin/") ? 0o755 : 0o644);
  }
  const json = {
    name: packageName,
    version,
    license,
    ...repository(),
    ...fields,
    files: [...Object.keys(files), ...LEGAL],
  };
  writeFileSync(`${folder}/package.json`, `${JSON.stringify(json, undefined, 2)}\n`);
}

/** Where a release is built, which npm compares with the provenance: the workflow knows, nobody else does. */
function repository(): object {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: path } = process.env;
  if (server === undefined || path === undefined) return {};
  return { repository: { type: "git", url: `git+${server}/${path}.git` } };
}

if (import.meta.main) {
  writeMainPackage();
  for (const target of TARGETS) writeTargetPackage(target);
}
