// The Debian packages: what is in them, that lintian has no complaint, and what they do to a system and leave behind.

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

import { name, version } from "../../package.json";
import { addChecksums } from "../../packaging/build.ts";
import { DEB_TARGETS, makeDeb, unit } from "../../packaging/deb.ts";
import { manualPage } from "../../packaging/manual.ts";
import { lacks } from "../harness/needs.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";
import { ALICE } from "../harness/users.ts";

/** dpkg and lintian take seconds, and many times as long beside other tests. */
const SECONDS = 100;
setDefaultTimeout(1000 * 2 * SECONDS);

const PROGRAM = "/usr/bin/responses-api-proxy";
/** Stands in for the program, 110 MB that take long to compress: the kernel treats its capabilities as it treats the program's. */
const STAND_IN = "/usr/bin/true";
const DATE = 1_800_000_000;

const here = DEB_TARGETS.find(({ cpu }) => cpu === process.arch)!;
const directory = temporaryDirectory();
let deb: string;

function make(target = here, into = directory): string {
  const before = process.env["SOURCE_DATE_EPOCH"];
  process.env["SOURCE_DATE_EPOCH"] = String(DATE);
  try {
    return makeDeb(target, STAND_IN, into);
  } finally {
    if (before === undefined) delete process.env["SOURCE_DATE_EPOCH"];
    else process.env["SOURCE_DATE_EPOCH"] = before;
  }
}

async function run(...[binary = "", ...args]: string[]): Promise<string> {
  const env = {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    DEBIAN_FRONTEND: "noninteractive",
  };
  const { exitCode, stdout, stderr } = await runProgram({ binary, args, env, seconds: SECONDS });
  if (exitCode !== 0) throw new Error(`${binary} ended with ${exitCode}:\n${stdout}${stderr}`);
  return stdout + stderr;
}

describe.skipIf(lacks("dpkg-deb"))("what is in the package (needs dpkg-deb)", () => {
  beforeAll(() => void (deb = make()));

  test("every file, root's, with the mode it needs: nobody can read the program", async () => {
    const lines = (await run("dpkg-deb", "--contents", deb)).trim().split("\n");
    const files = lines
      .map((line) => line.split(/\s+/))
      .map(([mode, owner, , day, , path]) => [mode, owner, day, path]);
    const [file, day] = ["-rw-r--r--", new Date(DATE * 1000).toISOString().slice(0, 10)];
    expect(files.filter(([, , , path]) => !path!.endsWith("/"))).toEqual(
      [
        ["-rwx--x--x", "usr/bin/responses-api-proxy"],
        [file, "usr/lib/systemd/system/responses-api-proxy.service"],
        [file, "usr/share/bash-completion/completions/responses-api-proxy"],
        [file, "usr/share/doc/responses-api-proxy/CHANGELOG.md.gz"],
        [file, "usr/share/doc/responses-api-proxy/README.md.gz"],
        [file, "usr/share/doc/responses-api-proxy/THIRD-PARTY-NOTICES.gz"],
        [file, "usr/share/doc/responses-api-proxy/changelog.gz"],
        [file, "usr/share/doc/responses-api-proxy/copyright"],
        ...["clients", "commands", "log-and-dump", "operations", "threat-model", "wire"].map((page) => [
          file,
          `usr/share/doc/responses-api-proxy/docs/${page}.md.gz`,
        ]),
        [file, "usr/share/fish/vendor_completions.d/responses-api-proxy.fish"],
        [file, "usr/share/lintian/overrides/responses-api-proxy"],
        [file, "usr/share/man/man1/responses-api-proxy.1.gz"],
        [file, "usr/share/zsh/vendor-completions/_responses-api-proxy"],
      ].map(([mode, path]) => [mode, "root/root", day, `./${path}`]),
    );
    for (const [mode, owner, , path] of files)
      if (path!.endsWith("/")) expect([mode, owner]).toEqual(["drwxr-xr-x", "root/root"]);
    expect((await run("dpkg-deb", "--info", deb)).match(/conffiles/)).toBeNull();
  });

  test("its page, its program and its fields", async () => {
    const unpacked = join(temporaryDirectory(), "unpacked");
    await run("dpkg-deb", "--extract", deb, unpacked);
    const page = await run("gzip", "-dc", join(unpacked, "usr/share/man/man1/responses-api-proxy.1.gz"));
    expect(page).toBe(manualPage());
    await run("cmp", join(unpacked, PROGRAM), STAND_IN);
    const fields = await run("dpkg-deb", "--field", deb, "Package", "Version", "Architecture", "Depends");
    expect(fields).toBe(
      `Package: ${name}\nVersion: ${version}\nArchitecture: ${process.arch === "x64" ? "amd64" : "arm64"}\nDepends: adduser, libc6 (>= 2.17), libcap2-bin\n`,
    );
    expect(basename(deb)).toBe(`${name}_${version}_${process.arch === "x64" ? "amd64" : "arm64"}.deb`);
  });

  test("the same source and date give the same bytes", async () => {
    const again = temporaryDirectory();
    await run("cmp", deb, make(here, again));
    // Made from files of another time, and by a user with another umask.
    const umask = process.umask(0o077);
    try {
      await run("cmp", deb, make(here, join(again, "other")));
    } finally {
      process.umask(umask);
    }
  });

  test("SHA256SUMS has the packages, and each once", async () => {
    writeFileSync(join(directory, "SHA256SUMS"), `${"0".repeat(64)}  another\n`);
    const debs = DEB_TARGETS.map((target) => make(target));
    addChecksums(debs, directory);
    addChecksums(debs, directory);
    const sums = readFileSync(join(directory, "SHA256SUMS"), "utf8").split("\n");
    expect(sums.map((line) => line.slice(66))).toEqual([
      "another",
      ...debs.map((file) => basename(file)),
      "",
    ]);
    for (const [at, file] of debs.entries())
      expect(await run("sha256sum", file)).toStartWith(sums[at + 1]!.slice(0, 64));
  });

  test("the unit starts the installed program, as a user whose name is no group's", () => {
    expect(unit()).toMatch(/^ExecStart=\/usr\/bin\/responses-api-proxy --/m);
    expect(unit()).toMatch(/^SupplementaryGroups=responses-api-proxy$/m);
    expect(/^User=(.*)$/m.exec(unit())?.[1]).not.toBe(name);
    expect(unit()).not.toMatch(/local|^#  .*install -o/m);
    expect(unit()).toMatch(/^# {3}install -d -m 0700 \/etc\/credstore\.encrypted$/m);
  });

  test.skipIf(lacks("lintian"))("lintian has no complaint (needs lintian)", async () => {
    // Without --allow-root it would say that root runs it.
    expect(await run("lintian", "--allow-root", "--fail-on=error,warning", deb)).toBe("");
    for (const lines of readFileSync("packaging/debian/lintian-overrides", "utf8").split(/^(?=#)/m))
      expect(lines).toMatch(/^# .*\n[a-z]/);
  });
});

describe.skipIf(lacks("root", "dpkg-deb", "setcap", "overlay mounts", "Debian's adduser and libcap2-bin"))(
  "installed on a copy of this system (needs root, dpkg-deb, setcap, overlay mounts, Debian's adduser and libcap2-bin)",
  () => {
    beforeAll(() => void (deb = make()));

    /** Runs a script of sh as root, with all that it writes to the system in `changes`, which end with it. `$deb` is the package. */
    async function onCopy(script: string): Promise<string> {
      const place = temporaryDirectory();
      mkdirSync(join(place, "space"));
      const inside = join(place, "script");
      writeFileSync(inside, `deb=${deb}; program=${PROGRAM}\n${script}`);
      const outside = `cd ${place}/space && mount -t tmpfs none . && cd . && cd ${place}/space && mkdir changes work root &&
        mount -t overlay none -o lowerdir=/,upperdir=changes,workdir=work root &&
        mount --rbind /proc root/proc && mount --rbind /dev root/dev &&
        mkdir -p root${directory} root${place}/space && cp ${deb} root${directory}/ && cp ${inside} root${place}/ &&
        chroot root sh -e ${inside} && echo LEFT && find changes -not -type d -not -type c && find changes -type d -name '*responses-api-proxy'`;
      return await run("unshare", "--mount", "sh", "-c", outside);
    }

    const SHOW = `stat -c '%U:%G %a' $program; getcap $program`;
    const INSTALLED = `root:responses-api-proxy 710\n${PROGRAM} cap_ipc_lock=ep\n`;
    const REFUSED =
      "responses-api-proxy: this container or file system refuses cap_ipc_lock: memory is locked as far as RLIMIT_MEMLOCK allows\n";
    // env(1), because setpriv itself still has root's capabilities when it executes something.
    const asAlice = (group: string): string =>
      `setpriv --reuid=${ALICE} --regid=${ALICE} --groups=${group} env`;

    test("its group's members can execute the program, nobody else can, and no one can read it", async () => {
      const member = "$(getent group responses-api-proxy | cut -d: -f3)";
      const output = await onCopy(`dpkg --no-triggers -i $deb >/dev/null; echo ANSWER; ${SHOW}
        ${asAlice(member)} $program --version >/dev/null; echo member $?
        ${asAlice(member)} cat $program >/dev/null 2>&1 || echo unreadable
        ${asAlice("12345")} $program 2>/dev/null || echo other $?
        systemctl is-enabled responses-api-proxy.service || true`);
      const [, answer] = /ANSWER\n([\s\S]*)LEFT/.exec(output)!;
      expect(answer).toBe(`${INSTALLED}member 0\nunreadable\nother 126\ndisabled\n`);
      expect(output).not.toContain(REFUSED);
    });

    test("an upgrade keeps all that, a removal the group, and a purge nothing", async () => {
      const output =
        await onCopy(`dpkg --no-triggers -i $deb >/dev/null; dpkg --no-triggers -i $deb >/dev/null; adduser --quiet root responses-api-proxy
        echo ANSWER; ${SHOW}
        systemctl --quiet enable responses-api-proxy.service 2>/dev/null
        dpkg --no-triggers --remove responses-api-proxy >/dev/null; getent group responses-api-proxy | cut -d: -f1,4; ls $program 2>/dev/null || echo gone
        dpkg --no-triggers --purge responses-api-proxy >/dev/null; getent group responses-api-proxy || echo no group`);
      const [, answer, left] = /ANSWER\n([\s\S]*)LEFT\n([\s\S]*)/.exec(output)!;
      expect(answer).toBe(`${INSTALLED}responses-api-proxy:root\ngone\nno group\n`);
      const files = left!
        .trim()
        .split("\n")
        .map((file) => file.replace("changes", ""));
      expect(files.filter((file) => /responses-api-proxy/.test(file) && !file.startsWith("/tmp/"))).toEqual(
        [],
      );
      const usual =
        /^\/(var\/(lib\/dpkg|log|cache)\/|etc\/(group|gshadow|passwd|shadow|subgid|subuid)-?$|etc\/\.pwd\.lock$|run\/adduser$|tmp\/)/;
      expect(files.filter((file) => !usual.test(file))).toEqual([]);
    });

    test.each(["ipc_lock", "setfcap"])(
      "without %s in the container, one line says so, and the program can be executed",
      async (capability) => {
        const output = await onCopy(
          `setpriv --bounding-set=-${capability} dpkg --no-triggers -i $deb; echo ANSWER; ${SHOW}; setpriv --bounding-set=-${capability} $program --version >/dev/null; echo $?`,
        );
        expect(output.split(REFUSED)).toHaveLength(2);
        const [, answer] = /ANSWER\n([\s\S]*)LEFT/.exec(output)!;
        expect(answer).toBe("root:responses-api-proxy 710\n0\n");
      },
    );

    test("what the administrator has decided stays", async () => {
      const output = await onCopy(
        `dpkg-statoverride --add root root 0700 $program; dpkg --no-triggers -i $deb >/dev/null; echo ANSWER; ${SHOW}`,
      );
      expect(/ANSWER\n([\s\S]*)LEFT/.exec(output)![1]).toBe("root:root 700\n");
    });
  },
);
