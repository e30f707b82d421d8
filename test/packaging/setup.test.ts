// .ci/setup says what is missing: on another platform, without a registry, with a Bun whose install script was not run.

import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { lacks } from "../harness/needs.ts";
import { temporaryDirectory } from "../harness/program.ts";

const VERSION = /"bun": "([\d.]+)"/.exec(readFileSync("package.json", "utf8"))![1]!;
const PLACEHOLDER = "#!/bin/sh\necho not installed >&2\nexit 1\n";
const WORKS = `#!/bin/sh\necho ${VERSION}\n`;

function program(file: string, text: string): void {
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, 0o755);
}

/** Makes a clone, and a directory with these programs, which is first in PATH. */
function clone(programs: Record<string, string>): { root: string; run: () => Promise<[number, string[]]> } {
  const root = join(temporaryDirectory(), "a clöne");
  const bin = join(root, "../bin");
  for (const file of ["package.json", "bun.lock", ".ci/setup"]) {
    mkdirSync(join(root, file, ".."), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  // Neither the Bun nor the npm of this machine.
  for (const [name, text] of Object.entries({ bun: PLACEHOLDER, npm: PLACEHOLDER, ...programs }))
    program(join(bin, name), text);
  const run = async (): Promise<[number, string[]]> => {
    const child = Bun.spawn(["sh", join(root, ".ci/setup")], {
      env: { PATH: `${bin}:/usr/bin:/bin`, CLONE: root },
      cwd: "/",
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return [await child.exited, output.join("").trimEnd().split("\n")];
  };
  return { root, run };
}

/** A `bun` whose `install` leaves `own` in Bun's package, and `machine` in the package for this machine. */
const installs = (own: string, machine: string): string => `#!/bin/sh
if [ "$1" = --version ]; then echo ${VERSION}; exit; fi
cd "$CLONE"
mkdir -p node_modules/bun/bin node_modules/@oven/bun-linux-x64/bin
for name in bun bunx; do printf '%s' '${own}' > node_modules/bun/bin/$name.exe; done
printf '%s' '${machine}' > node_modules/@oven/bun-linux-x64/bin/bun
chmod -R 755 node_modules
echo installed once
`;

describe("another platform: one line, and nothing is installed", () => {
  test.each(["Darwin arm64", "Linux armv7l", "FreeBSD amd64"])("%s", async (machine) => {
    const { root, run } = clone({ uname: `#!/bin/sh\necho ${machine}\n`, bun: installs(WORKS, WORKS) });
    expect(await run()).toEqual([1, [`setup: only Linux on x64 and arm64 is supported, not ${machine}`]]);
    expect(existsSync(join(root, "node_modules"))).toBe(false);
  });

  test.each(["Linux x86_64", "Linux aarch64"])("%s is supported", async (machine) => {
    const { run } = clone({ uname: `#!/bin/sh\necho ${machine}\n`, bun: installs(WORKS, WORKS) });
    expect(await run()).toEqual([0, ["installed once"]]);
  });
});

test("a second run installs nothing, one after a change of bun.lock does", async () => {
  const { root, run } = clone({ bun: installs(WORKS, WORKS) });
  expect(await run()).toEqual([0, ["installed once"]]);
  expect(await run()).toEqual([0, [""]]);
  writeFileSync(join(root, "bun.lock"), "changed");
  expect(await run()).toEqual([0, ["installed once"]]);
});

test.skipIf(lacks("flock"))(
  "two at once: one installs, and the other waits for it (needs flock)",
  async () => {
    const { run } = clone({ bun: installs(WORKS, WORKS) });
    const both = await Promise.all([run(), run()]);
    expect(both.map(([code]) => code)).toEqual([0, 0]);
    expect(both.flatMap(([, lines]) => lines).filter((line) => line !== "")).toEqual(["installed once"]);
  },
);

test("no registry: the last line says what the first run needs, and the next run tries again", async () => {
  const npm = "#!/bin/sh\necho npm error code ECONNREFUSED >&2\nexit 1\n";
  const { run } = clone({ npm });
  const expected = [
    "npm error code ECONNREFUSED",
    `setup: Bun ${VERSION} could not be fetched: the first run needs the npm registry`,
  ];
  expect(await run()).toEqual([1, expected]);
  expect(await run()).toEqual([1, expected]);
});

describe("ignore-scripts=true: Bun's install script was not run", () => {
  test("the program of the machine's package takes the placeholder's place", async () => {
    const { root, run } = clone({ bun: installs(PLACEHOLDER, WORKS) });
    expect(await run()).toEqual([0, ["installed once"]]);
    for (const name of ["bun.exe", "bunx.exe"])
      expect(readFileSync(join(root, "node_modules/bun/bin", name), "utf8")).toBe(WORKS);
  });

  test("without that program, the message names the setting", async () => {
    const { run } = clone({ bun: installs(PLACEHOLDER, PLACEHOLDER) });
    const missing =
      "setup: Bun is missing after the installation; ignore-scripts=true in ~/.npmrc is the likely cause";
    expect(await run()).toEqual([1, ["installed once", missing]]);
    expect(await run()).toEqual([1, ["installed once", missing]]);
  });
});

describe("Bun from npm: its checksum is in bun.lock, or it does not run", () => {
  const [own, other] = ["x64", "aarch64"].map((cpu) => `@oven/bun-linux-${cpu}`);
  const digestOf = (file: string): string =>
    `sha512-${new Bun.CryptoHasher("sha512").update(readFileSync(file)).digest("base64")}`;

  /** A clone whose registry has this as Bun, and a bun.lock that names `expected` or else just that. */
  function served(bun: string, expected?: string) {
    const files = temporaryDirectory();
    program(join(files, "package/bin/bun"), bun);
    const tarball = join(files, "served.tgz");
    Bun.spawnSync(["tar", "-czf", tarball, "-C", files, "package"]);
    const npm = `#!/bin/sh\n[ "$1 $2" = "pack --silent" ] && cp '${tarball}' bun.tgz && echo "$3" > '${files}/asked'\n`;
    // On another libc the package would be another one.
    const made = clone({ npm, uname: "#!/bin/sh\necho Linux x86_64\n" });
    const lock = readFileSync(join(made.root, "bun.lock"), "utf8");
    const line = new RegExp(`^( *"${own}(?:-musl)?": .*)"sha512-.*"`, "gm");
    writeFileSync(join(made.root, "bun.lock"), lock.replace(line, `$1"${expected ?? digestOf(tarball)}"`));
    return { ...made, asked: () => readFileSync(join(files, "asked"), "utf8").trim() };
  }
  const installsHere = installs(WORKS, WORKS);

  test("the right one runs, and leaves nothing but what it installs", async () => {
    const { root, run, asked } = served(installsHere);
    expect(await run()).toEqual([0, ["installed once"]]);
    expect(asked()).toMatch(new RegExp(`^${own}(-musl)?@${VERSION}$`));
    expect(existsSync(join(root, "node_modules/.setup"))).toBe(false);
  });

  test.each([
    ["another one", digestOf("package.json")],
    ["one that bun.lock does not name", "none"],
    [
      "that of another machine",
      new RegExp(`"${other}": .*"(sha512-.*)"`).exec(readFileSync("bun.lock", "utf8"))![1]!,
    ],
  ])("%s does not", async (_what, expected) => {
    const { root, run } = served(installsHere, expected);
    const [exitCode, lines] = await run();
    expect([exitCode, lines]).toEqual([
      1,
      [expect.stringMatching(/^setup: what the npm registry has as \S+ is not what bun\.lock names$/)],
    ]);
    expect(existsSync(join(root, "node_modules/bun"))).toBe(false);
  });
});
