// The Debian packages, one for each processor, with dpkg-deb(1). The same source gives the same bytes.

import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

import { description, name, version } from "../package.json";
import { addChecksums, programOf } from "./build.ts";
import { bash } from "./completions/bash.ts";
import { fish } from "./completions/fish.ts";
import { zsh } from "./completions/zsh.ts";
import { manualPage } from "./manual.ts";
import { type Target, TARGETS } from "./targets.ts";

const DIST = "dist";
/** Those for glibc, which is Debian's. */
export const DEB_TARGETS = TARGETS.filter(({ libc }) => libc === "glibc");

/** Debian's name of the processor. */
const architectureOf = ({ cpu }: Target): string => (cpu === "x64" ? "amd64" : "arm64");
/** A version before a release (1.0.0-rc.1) sorts before it with a tilde (deb-version(7)). */
const VERSION = version.replace("-", "~");

export const debOf = (target: Target, directory = DIST): string =>
  `${directory}/${name}_${VERSION}_${architectureOf(target)}.deb`;

/**
 * xz at level 0: 47 MB in 14 s. Its default takes minutes for 40 MB. zstd would take 4 s for 48 MB, but Debian's archive and lintian(1)
 * refuse it. One thread, because with more the bytes are others.
 */
const COMPRESSION = ["-Zxz", "-z0", "--threads-max=1"];

/** The time of every file in the packages, in seconds (https://reproducible-builds.org/specs/source-date-epoch). */
function sourceDate(): number {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  const { exitCode, stdout } = Bun.spawnSync(["git", "log", "-1", "--format=%ct"]);
  if (exitCode !== 0) throw new Error("there is no commit to take the date from: set SOURCE_DATE_EPOCH");
  return Number(stdout.toString());
}

/** Who made the packages, as Debian's tools are told (debchange(1)). The workflow sets both. */
const maintainer = (): string =>
  `${process.env["DEBFULLNAME"] ?? `The authors of ${name}`} <${process.env["DEBEMAIL"] ?? `${name}@packages.invalid`}>`;

/** Makes the package with this program in it, and returns its path. Throws if that fails. */
export function makeDeb(target: Target, program = programOf(target), directory = DIST): string {
  const date = sourceDate();
  const root = `${directory}/deb/${architectureOf(target)}`;
  rmSync(root, { recursive: true, force: true });
  // In the package 0711 and root's: until postinst has made the group, anybody may start it, and nobody can read it.
  write(root, "usr/bin/responses-api-proxy", program, 0o711);
  for (const [path, content] of Object.entries(contents(date))) write(root, path, content);
  const files = pathsBelow(root).filter((path) => lstatSync(path).isFile());
  const size = files.reduce((sum, path) => sum + Math.ceil(lstatSync(path).size / 1024), 0);
  const sums = files.map((path) => `${md5(path)}  ${path.slice(root.length + 1)}\n`);
  write(root, "DEBIAN/control", Buffer.from(control(target, size)));
  write(root, "DEBIAN/md5sums", Buffer.from(sums.join("")));
  for (const script of ["postinst", "prerm", "postrm"])
    write(root, `DEBIAN/${script}`, `packaging/debian/${script}`, 0o755);
  for (const path of pathsBelow(root)) utimesSync(path, date, date);
  utimesSync(root, date, date);
  const deb = debOf(target, directory);
  const { exitCode } = Bun.spawnSync(
    ["dpkg-deb", "--root-owner-group", ...COMPRESSION, "--build", root, deb],
    { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, SOURCE_DATE_EPOCH: String(date) } },
  );
  if (exitCode !== 0) throw new Error(`dpkg-deb exited with ${exitCode}`);
  rmSync(dirname(root), { recursive: true });
  return deb;
}

/** What a user reads at the machine, beside the README, which leads to them. */
const PAGES = ["commands", "clients", "operations", "log-and-dump", "wire", "threat-model"].map(
  (page) => `docs/${page}.md`,
);

/** Path in the package → the path of a file, or bytes. */
function contents(date: number): Record<string, string | Uint8Array> {
  const doc = `usr/share/doc/${name}`;
  return {
    [`usr/lib/systemd/system/${name}.service`]: Buffer.from(unit()),
    [`usr/share/bash-completion/completions/${name}`]: Buffer.from(bash()),
    [`usr/share/zsh/vendor-completions/_${name}`]: Buffer.from(zsh()),
    [`usr/share/fish/vendor_completions.d/${name}.fish`]: Buffer.from(fish()),
    [`usr/share/man/man1/${name}.1.gz`]: compressed(manualPage()),
    [`usr/share/lintian/overrides/${name}`]: "packaging/debian/lintian-overrides",
    [`${doc}/copyright`]: "packaging/debian/copyright",
    [`${doc}/changelog.gz`]: compressed(changelog(date)),
    ...Object.fromEntries(
      ["README.md", "CHANGELOG.md", "THIRD-PARTY-NOTICES", ...PAGES].map((file) => [
        `${doc}/${file}.gz`,
        compressed(readFileSync(file, "utf8")),
      ]),
    ),
  };
}

/** The best compression, without a name and a time, as Debian Policy §12.7 wants it. */
const compressed = (text: string): Uint8Array => gzipSync(text, { level: 9 });

/** The unit of contrib/, for the program and the group of the package. */
export function unit(): string {
  const text = readFileSync("contrib/systemd/responses-api-proxy.service", "utf8");
  const changes: [RegExp, string][] = [
    [/^#   install -o root .*\n/gm, ""],
    [/systemctl daemon-reload && /, ""],
    [/\/usr\/local\/bin\//, "/usr/bin/"],
    [/^DynamicUser=yes\n/m, `$&# Its members may execute the program.\nSupplementaryGroups=${name}\n`],
    [/^Documentation=/m, `$&man:${name}(1) `],
  ];
  return changes.reduce((before, [pattern, text]) => {
    const after = before.replace(pattern, text);
    if (after === before) throw new Error(`the unit has no ${pattern.source}`);
    return after;
  }, text);
}

/** In Debian's form (deb-changelog(5)). What has changed is in the project's own changelog. */
function changelog(date: number): string {
  const day = new Date(date * 1000).toUTCString().replace("GMT", "+0000");
  return `${name} (${VERSION}) stable; urgency=medium\n\n  * Version ${version}: see CHANGELOG.md.gz.\n\n -- ${maintainer()}  ${day}\n`;
}

function control(target: Target, kibibytes: number): string {
  return `Package: ${name}
Version: ${VERSION}
Architecture: ${architectureOf(target)}
Maintainer: ${maintainer()}
Installed-Size: ${kibibytes}
Depends: adduser, libc6 (>= 2.17), libcap2-bin
Section: net
Priority: optional
Description: use an OpenAI API key without being able to read it
 ${wrapped(`${description}.`)}
 .
 The members of the group ${name} may start it. The systemd unit is
 neither enabled nor started: it needs its credential first, as its first
 lines say.
`;
}

/** In lines of a control file's description. */
const wrapped = (text: string): string => text.replace(/(.{1,76})(?: |$)/g, "$1\n ").trimEnd();

function write(root: string, to: string, from: string | Uint8Array, mode = 0o644): void {
  const path = join(root, to);
  for (let folder = dirname(path); folder.length >= root.length; folder = dirname(folder)) {
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o755);
  }
  if (typeof from === "string") copyFileSync(from, path);
  else writeFileSync(path, from);
  chmodSync(path, mode);
}

/** Everything below a directory, in one order on every machine. */
function pathsBelow(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
  return names.map((path) => join(root, path));
}

function md5(file: string): string {
  return new Bun.CryptoHasher("md5").update(readFileSync(file)).digest("hex");
}

if (import.meta.main) {
  if (Bun.which("dpkg-deb") === null) {
    console.error("deb: the Debian packages need dpkg-deb, which is not installed here");
    process.exit(1);
  }
  const packages = DEB_TARGETS.map((target) => makeDeb(target));
  addChecksums(packages);
  console.log(`made: dist/npm, ${packages.join(", ")}`);
}
