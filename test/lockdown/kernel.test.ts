// On other kernels: what an older one cannot forbid, or one cannot do at all, is said by the start and by doctor, once and alike.

import { describe, expect, test } from "bun:test";

import { compare, compareServing, inNamespace, onKernel, reasonsIn } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { ALICE, as, reachableBinary, UNREADABLE } from "../harness/users.ts";

const PREFIX = "responses-api-proxy: ";

const ALL_OPEN = "files, TCP ports and signals are not restricted";

/** What a start that serves, from a file that nobody but root can read, says. */
async function startOn(launcher: string[]): Promise<string> {
  const proxy = await Proxy.start({ launcher, binary: reachableBinary(UNREADABLE) });
  return (await proxy.stop()).stderr;
}

/** What a start's line of protections says of the sandbox. */
function sandboxIn(stderr: string): string {
  return /protections: .*?, sandbox ([^,]*), uid/.exec(stderr)?.[1] ?? "none";
}

describe.skipIf(lacks("root"))("a kernel (needs root)", () => {
  type Gap = [
    name: string,
    spec: Record<string, string | number>,
    id: string,
    message: string,
    hint: string,
    sandbox: RegExp,
  ];
  const GAPS: Gap[] = [
    [
      "before 5.13, without Landlock",
      { landlock_create_ruleset: "ENOSYS" },
      "landlock",
      `${ALL_OPEN}: this kernel has no Landlock`,
      "Linux 6.12 has all of it, if CONFIG_SECURITY_LANDLOCK is set",
      /^seccomp\+mdwe$/,
    ],
    [
      "whose Landlock is not enabled",
      { landlock_create_ruleset: "EOPNOTSUPP" },
      "landlock",
      `${ALL_OPEN}: Landlock is not enabled`,
      "add it to the kernel's command line: lsm=landlock,… with what /sys/kernel/security/lsm lists",
      /^seccomp\+mdwe$/,
    ],
    [
      "whose Landlock a container forbids",
      { landlock_create_ruleset: "EPERM" },
      "landlock",
      `${ALL_OPEN}: Landlock is forbidden here (landlock_create_ruleset: EPERM)`,
      "a container's seccomp profile must allow the calls landlock_*",
      /^seccomp\+mdwe$/,
    ],
    [
      "whose Landlock can be asked and not used",
      { landlock_restrict_self: "E2BIG" },
      "landlock",
      `${ALL_OPEN}: the kernel's Landlock refused this process`,
      "a container's seccomp profile must allow the calls landlock_*",
      /^seccomp\+mdwe$/,
    ],
    [
      "with Landlock ABI 1 (5.13)",
      { landlockAbi: 1 },
      "landlock",
      "not restricted by Landlock ABI 1: TCP ports, signals",
      "Linux 6.12 has all of it",
      /^landlock\(abi 1\)\+seccomp\+mdwe$/,
    ],
    [
      "with Landlock ABI 3 (6.2)",
      { landlockAbi: 3 },
      "landlock",
      "not restricted by Landlock ABI 3: TCP ports, signals",
      "Linux 6.12 has all of it",
      /^landlock\(abi 3\)\+seccomp\+mdwe$/,
    ],
    [
      "with Landlock ABI 5 (6.10)",
      { landlockAbi: 5 },
      "landlock",
      "not restricted by Landlock ABI 5: signals",
      "Linux 6.12 has all of it",
      /^landlock\(abi 5\)\+seccomp\+mdwe$/,
    ],
    [
      "without seccomp filters",
      { seccomp: "EINVAL" },
      "seccomp",
      "system calls are not restricted (seccomp)",
      "the kernel must have CONFIG_SECCOMP_FILTER, and a container must allow seccomp(2)",
      /^landlock\(abi \d+\)\+mdwe$/,
    ],
    [
      "without PR_SET_MDWE",
      { "prctl 0=65": "EINVAL" },
      "mdwe",
      "memory can become executable (PR_SET_MDWE)",
      "Linux 6.3 or later can forbid it",
      /^landlock\(abi \d+\)\+seccomp$/,
    ],
    [
      "that refuses the key's pages every protection",
      { mlock: "EPERM", "madvise 2=16": "EINVAL", "madvise 2=18": "EINVAL" },
      "key-pages",
      "mlock, MADV_DONTDUMP, MADV_WIPEONFORK failed for the pages that the key is read into",
      "RLIMIT_MEMLOCK must allow 16 KiB (two pages, if those are larger), and the kernel must be 4.14 or later",
      /^landlock\(abi \d+\)\+seccomp\+mdwe$/,
    ],
  ];
  test.each(GAPS)(
    "%s: one warning, and doctor says the same, and that --strict refuses",
    async (_name, spec, id, message, hint, sandbox) => {
      const { stderr, verdict, of } = await compareServing({ launcher: onKernel(spec) });
      // That it is doctor's only warning, too, is what is compared.
      expect(reasonsIn(stderr, "warning")).toEqual([{ found: message, advice: hint }]);
      expect(sandboxIn(stderr)).toMatch(sandbox);
      expect(verdict.startsStrictly).toBe(false);
      expect(of(id)).toEqual({ id, status: "warning", found: message, advice: hint });
    },
  );

  test("with Landlock ABI 6 (6.12) has all of it", async () => {
    const { verdict, of } = await compare({ launcher: onKernel({ landlockAbi: 6 }) });
    expect(verdict).toEqual({ starts: true, startsStrictly: true });
    expect(of("landlock")).toMatchObject({ status: "ok", found: "ABI 6: files, TCP ports, signals" });
  });

  test.each(["EINVAL", "ENOSYS"])(
    "whose close_range says %s, before 5.11: no start, and what it requires",
    async (reason) => {
      const { started, verdict } = await compare({ launcher: onKernel({ close_range: reason }) });
      expect(verdict).toEqual({ starts: false, startsStrictly: false });
      expect(started).toMatchObject({
        exitCode: 3,
        stderr: `${PREFIX}error: cannot start again with a clean environment (close_range: ${reason})\n${PREFIX}hint: Linux 5.11 or later is required\n`,
      });
    },
  );

  const POWERLESS: [what: string, failing: Record<string, string>, limits: string[], error: string][] = [
    ["a process stays dumpable", { "prctl 0=4": "OK" }, [], "the process cannot be made undumpable"],
    ["no_new_privs is not to be had", { "prctl 0=38": "OK" }, [], "no_new_privs cannot be set"],
    [
      "core files cannot be limited",
      { "prlimit64 3=0": "OK" },
      ["prlimit", "--core=4096:4096", "--nofile=1024:1024"],
      "core dumps cannot be forbidden",
    ],
  ];
  test.each(POWERLESS)("on which %s, though it says so: no start", async (_what, failing, limits, error) => {
    const { started, verdict } = await compare({ launcher: [...limits, ...onKernel(failing)] });
    expect(verdict).toEqual({ starts: false, startsStrictly: false });
    expect(started).toMatchObject({ exitCode: 4, stderr: `${PREFIX}error: ${error}\n` });
  });

  test("on which root stays root, though it says otherwise: it is seen before anything is done as that user", async () => {
    const args = [`--user=${ALICE}`];
    const { exitCode, stderr } = await runProgram({
      launcher: onKernel({ setresuid: "OK" }),
      args,
      input: "sk-x\n",
    });
    expect(stderr).toStartWith(`${PREFIX}error: cannot become user ${ALICE} (Error)\n`);
    expect(exitCode).toBe(10);
  });

  test("on which all is missing: --strict names all of it, and doctor the same", async () => {
    const kernel = onKernel({
      landlock_create_ruleset: "ENOSYS",
      seccomp: "EINVAL",
      "prctl 0=65": "EINVAL",
      "madvise 2=16": "EINVAL",
    });
    const launcher = [...kernel, "prlimit", "--memlock=65536:65536", ...as(ALICE)];
    const { strictly, of } = await compare({ launcher, binary: reachableBinary() });
    expect(strictly.exitCode).toBe(11);
    expect(reasonsIn(strictly.stderr, "error").map(({ found }) => found)).toEqual([
      expect.stringMatching(/^during the start, other processes of this user could have taken over the pipe/),
      expect.stringMatching(/^memory is not locked \(mlockall: E\w+\)/),
      "MADV_DONTDUMP failed for the pages that the key is read into",
      `${ALL_OPEN}: this kernel has no Landlock`,
      "system calls are not restricted (seccomp)",
      "memory can become executable (PR_SET_MDWE)",
    ]);
    for (const id of ["file-readable", "memory-lock", "key-pages", "landlock", "seccomp", "mdwe"])
      expect(of(id)!.status).toBe("warning");
  });

  // The mode of a device is no proof of Landlock.
  test.skipIf(lacks("mount namespaces"))(
    "without Landlock, where nobody may write to /dev/zero: none is claimed (needs mount namespaces)",
    async () => {
      const device = `${temporaryDirectory()}/zero`;
      const closed = inNamespace(
        `rm -f ${device}; mknod -m 600 ${device} c 1 5; mount --bind ${device} /dev/zero`,
      );
      const launcher = [...closed, ...onKernel({ landlock_create_ruleset: "EOPNOTSUPP" }), ...as(ALICE)];
      const stderr = await startOn(launcher);
      expect(sandboxIn(stderr)).toBe("seccomp+mdwe");
      expect(stderr).toContain(`warning: ${ALL_OPEN}: Landlock is not enabled\n`);
      // Nor where Landlock is there, and was not to be had.
      const refused = [...closed, ...onKernel({ landlock_restrict_self: "E2BIG" }), ...as(ALICE)];
      expect(sandboxIn(await startOn(refused))).toBe("seccomp+mdwe");
    },
  );

  test.skipIf(lacks("mount namespaces"))(
    "whose /proc is read-only: what holds is still seen (needs mount namespaces)",
    async () => {
      const launcher = inNamespace("mount --bind /proc /proc; mount -o remount,bind,ro /proc");
      expect((await compare({ launcher })).verdict).toEqual({ starts: true, startsStrictly: true });
    },
  );

  test.skipIf(lacks("mount namespaces"))(
    "that executes no copies in memory: all that was open is said, once (needs mount namespaces)",
    async () => {
      // What vm.memfd_noexec=2 does.
      const kernel = onKernel({ memfd_create: "EACCES" });
      const binary = reachableBinary();
      const args = [`--user=${ALICE}`];
      // Unless a disk takes the copy.
      const onDisk = await compare({ launcher: kernel, binary, args });
      expect(onDisk.verdict.startsStrictly).toBe(true);
      expect(onDisk.of("file-readable")).toMatchObject({ status: "ok", found: "not dumpable from exec" });
      const noDisk = inNamespace("mount -t tmpfs -o noexec,mode=1777 none /var/tmp");
      const launcher = [...noDisk, ...kernel];
      const [OPEN, INSTALL] = [
        "during the start, other processes of this user could read this process's memory",
        "install it so that its user cannot read it: install -o root -g GROUP -m 0710",
      ];
      const same = await compare({ launcher: [...launcher, ...as(ALICE)], binary });
      expect(same.strictly.stderr.replaceAll(PREFIX, "")).toStartWith(
        `error: ${OPEN}, or could have taken over the pipe that the key comes through\nhint: ${INSTALL}\nerror: memory`,
      );
      const byRoot = await compare({ launcher, binary, args });
      expect(byRoot.strictly.stderr.replaceAll(PREFIX, "")).toBe(
        `error: ${OPEN}\nhint: ${INSTALL}\nhint: or allow executable memory files (vm.memfd_noexec=0)\n`,
      );
    },
  );
});
