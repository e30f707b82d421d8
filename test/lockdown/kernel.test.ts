// On other kernels: what an older one cannot forbid, or one cannot do at all, is said by the start and by doctor, once and alike.

import { describe, expect, test } from "bun:test";

import { compare, inNamespace, onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { ALICE, as } from "../harness/users.ts";

const PREFIX = "responses-api-proxy: ";

const ALL_OPEN = "files, TCP ports and signals are not restricted";

/** The warnings of a start that serves, each with its hints, and what the line of protections says of the sandbox. */
async function startOn(launcher: string[]): Promise<{ warnings: string[]; sandbox: string }> {
  const proxy = await Proxy.start({ launcher, args: ["--log-level=info"] });
  const { stderr } = await proxy.stop();
  const lines = stderr.replaceAll(PREFIX, "").split("\n");
  return {
    warnings: lines.filter((line) => /^(warning|hint): /.test(line)),
    sandbox: /protections: .*?, sandbox ([^,]*), uid/.exec(stderr)?.[1] ?? "none",
  };
}

describe.skipIf(lacks("root"))("a kernel (needs root)", () => {
  const LANDLOCKS: [
    name: string,
    spec: Record<string, string | number>,
    message: string,
    hint: string,
    sandbox: string,
  ][] = [
    [
      "before 5.13, without Landlock",
      { landlock_create_ruleset: "ENOSYS" },
      `${ALL_OPEN}: this kernel has no Landlock`,
      "Linux 6.12 has all of it, if CONFIG_SECURITY_LANDLOCK is set",
      "seccomp+mdwe",
    ],
    [
      "whose Landlock is not enabled",
      { landlock_create_ruleset: "EOPNOTSUPP" },
      `${ALL_OPEN}: Landlock is not enabled`,
      "add it to the kernel's command line: lsm=landlock,… with what /sys/kernel/security/lsm lists",
      "seccomp+mdwe",
    ],
    [
      "whose Landlock a container forbids",
      { landlock_create_ruleset: "EPERM" },
      `${ALL_OPEN}: Landlock is forbidden here (landlock_create_ruleset: EPERM)`,
      "a container's seccomp profile must allow the calls landlock_*",
      "seccomp+mdwe",
    ],
    [
      "whose Landlock can be asked and not used",
      { landlock_restrict_self: "E2BIG" },
      `${ALL_OPEN}: the kernel's Landlock refused this process`,
      "a container's seccomp profile must allow the calls landlock_*",
      "seccomp+mdwe",
    ],
    [
      "with Landlock ABI 1 (5.13)",
      { landlockAbi: 1 },
      "not restricted by Landlock ABI 1: truncating files, TCP ports, ioctl on devices, signals and abstract sockets",
      "Linux 6.12 has all of it",
      "landlock(abi 1)+seccomp+mdwe",
    ],
    [
      "with Landlock ABI 3 (6.2)",
      { landlockAbi: 3 },
      "not restricted by Landlock ABI 3: TCP ports, ioctl on devices, signals and abstract sockets",
      "Linux 6.12 has all of it",
      "landlock(abi 3)+seccomp+mdwe",
    ],
    [
      "with Landlock ABI 5 (6.10)",
      { landlockAbi: 5 },
      "not restricted by Landlock ABI 5: signals and abstract sockets",
      "Linux 6.12 has all of it",
      "landlock(abi 5)+seccomp+mdwe",
    ],
    [
      "without seccomp filters",
      { seccomp: "EINVAL" },
      "system calls are not restricted (seccomp)",
      "the kernel must have CONFIG_SECCOMP_FILTER, and a container must allow seccomp(2)",
      expect.stringMatching(/^landlock\(abi \d+\)\+mdwe$/) as unknown as string,
    ],
  ];
  test.each(LANDLOCKS)(
    "%s: one warning, and doctor says the same",
    async (_name, spec, message, hint, sandbox) => {
      const launcher = onKernel(spec);
      expect(await startOn(launcher)).toEqual({
        warnings: [`warning: ${message}`, `hint: ${hint}`],
        sandbox,
      });
      const { strictly, verdict, of } = await compare(launcher);
      expect(verdict).toEqual({ starts: true, startsStrictly: false });
      expect(strictly).toMatchObject({
        exitCode: 11,
        stderr: `${PREFIX}error: ${message}\n${PREFIX}hint: ${hint}\n`,
      });
      const id = "seccomp" in spec ? "seccomp" : "landlock";
      expect(of(id)).toEqual({ id, status: "warning", found: message, advice: hint });
    },
  );

  test("with Landlock ABI 6 (6.12) has all of it", async () => {
    const { verdict, of } = await compare(onKernel({ landlockAbi: 6 }));
    expect(verdict).toEqual({ starts: true, startsStrictly: true });
    expect(of("landlock")).toMatchObject({ status: "ok", found: "ABI 6: files, TCP ports, signals" });
  });

  test.each(["EINVAL", "ENOSYS"])(
    "whose close_range says %s, before 5.11: no start, and what it requires",
    async (reason) => {
      const { started, verdict, of } = await compare(onKernel({ close_range: reason }));
      expect(verdict).toEqual({ starts: false, startsStrictly: false });
      expect(started).toMatchObject({
        exitCode: 3,
        stderr: `${PREFIX}error: cannot start again with a clean environment (close_range: ${reason})\n${PREFIX}hint: Linux 5.11 or later is required\n`,
      });
      expect(of("kernel")).toMatchObject({ status: "fatal", advice: "Linux 5.11 or later is required" });
    },
  );

  const POWERLESS: [
    what: string,
    failing: Record<string, string>,
    limits: string[],
    code: number,
    error: string,
  ][] = [
    ["a process stays dumpable", { "prctl 0=4": "OK" }, [], 5, "the process cannot be made undumpable"],
    ["no_new_privs is not to be had", { "prctl 0=38": "OK" }, [], 6, "no_new_privs cannot be set"],
    [
      "core files cannot be limited",
      { "prlimit64 3=0": "OK" },
      ["--core=4096:4096", "--nofile=1024:1024"],
      7,
      "core dumps cannot be forbidden",
    ],
  ];
  test.each(POWERLESS)(
    "on which %s, though it says so: no start",
    async (_what, failing, limits, code, error) => {
      const launcher = [...(limits.length > 0 ? ["prlimit", ...limits] : []), ...onKernel(failing)];
      const { exitCode, stderr } = await runProgram({ launcher, input: "sk-x\n" });
      expect(stderr).toStartWith(`${PREFIX}error: ${error}\n`);
      expect(exitCode).toBe(code);
    },
  );

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

  test.each([
    [{ mlock: "EPERM" }, "mlock"],
    [{ "madvise 2=16": "EINVAL" }, "MADV_DONTDUMP"],
    [{ "madvise 2=18": "EINVAL" }, "MADV_WIPEONFORK"],
  ])(
    "that refuses the key's pages a protection (%j): a warning, and --strict refuses",
    async (failing, call) => {
      const message = `${call} failed for the pages the key was read into`;
      const launcher = onKernel(failing as Record<string, string>);
      expect((await startOn(launcher)).warnings).toEqual([`warning: ${message}`]);
      const { exitCode, stderr } = await runProgram({ launcher, args: ["--strict"], input: "sk-x\n" });
      expect(exitCode).toBe(11);
      expect(stderr).toBe(`${PREFIX}error: ${message}\n`);
    },
  );

  test("without PR_SET_MDWE: one warning, and --strict refuses", async () => {
    const launcher = onKernel({ "prctl 0=65": "EINVAL" });
    const { warnings, sandbox } = await startOn(launcher);
    const [message, hint] = [
      "memory can become executable (PR_SET_MDWE)",
      "Linux 6.3 or later can forbid it",
    ];
    expect(warnings).toEqual([`warning: ${message}`, `hint: ${hint}`]);
    expect(sandbox).toMatch(/^landlock\(abi \d+\)\+seccomp$/);
    const { exitCode, stderr } = await runProgram({ launcher, args: ["--strict"], input: "sk-x\n" });
    expect(exitCode).toBe(11);
    expect(stderr).toBe(`${PREFIX}error: ${message}\n${PREFIX}hint: ${hint}\n`);
  });

  test("on which all is missing: --strict names all of it", async () => {
    const launcher = ["prlimit", "--memlock=65536:65536", ...as(ALICE)];
    const { strictly, of } = await compare([
      ...onKernel({ landlock_create_ruleset: "ENOSYS", seccomp: "EINVAL" }),
      ...launcher,
    ]);
    expect(strictly.exitCode).toBe(11);
    const errors = strictly.stderr.replaceAll(PREFIX, "").match(/(?<=^error: ).*/gm);
    expect(errors).toEqual([
      expect.stringMatching(/^a process of this user that was there before could have taken the key's pipe/),
      expect.stringMatching(/^memory is not locked \(mlockall: E\w+\)/),
      `${ALL_OPEN}: this kernel has no Landlock`,
      "system calls are not restricted (seccomp)",
    ]);
    for (const id of ["file-readable", "memory-lock", "landlock", "seccomp"])
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
      const { sandbox, warnings } = await startOn(launcher);
      expect(sandbox).toBe("seccomp+mdwe");
      expect(warnings).toContain(`warning: ${ALL_OPEN}: Landlock is not enabled`);
      // Nor where Landlock is there, and was not to be had.
      const refused = [...closed, ...onKernel({ landlock_restrict_self: "E2BIG" }), ...as(ALICE)];
      expect((await startOn(refused)).sandbox).toBe("seccomp+mdwe");
    },
  );

  test.skipIf(lacks("mount namespaces"))(
    "whose /proc is read-only: what holds is still seen (needs mount namespaces)",
    async () => {
      const launcher = inNamespace("mount --bind /proc /proc; mount -o remount,bind,ro /proc");
      expect((await compare(launcher)).verdict).toEqual({ starts: true, startsStrictly: true });
    },
  );

  test.skipIf(lacks("mount namespaces"))(
    "that executes no copies in memory: all that was open is said, once (needs mount namespaces)",
    async () => {
      const value = `${temporaryDirectory()}/memfd_noexec`;
      await Bun.write(value, "2\n");
      const sysctl = `mount --bind ${value} /proc/sys/vm/memfd_noexec`;
      // The file says so to doctor, and the failing call to the start.
      const elsewhere = [...inNamespace(sysctl), ...onKernel({ memfd_create: "EACCES" })];
      // Unless a disk takes the copy.
      const onDisk = await compare(elsewhere, [`--user=${ALICE}`]);
      expect(onDisk.verdict.startsStrictly).toBe(true);
      expect(onDisk.of("memfd-noexec")!.found).toBe(
        "2: no copy in memory can be executed, and one on a disk can",
      );
      const noDisk = inNamespace(`${sysctl}; mount -t tmpfs -o noexec,mode=1777 none /var/tmp`);
      const launcher = [...noDisk, ...onKernel({ memfd_create: "EACCES" })];
      const OPEN = "until a moment ago another process of this user could open this one's memory";
      const same = await compare([...launcher, ...as(ALICE)]);
      expect(same.strictly.stderr.replaceAll(PREFIX, "")).toStartWith(
        `error: ${OPEN}, or take the key's pipe over\nhint: install it so that its user cannot read it: install -o root -g GROUP -m 0710\nerror: memory`,
      );
      const byRoot = await compare(launcher, [`--user=${ALICE}`]);
      expect(byRoot.strictly.stderr.replaceAll(PREFIX, "")).toBe(
        `error: ${OPEN}\nhint: install it so that its user cannot read it: install -o root -g GROUP -m 0710\nhint: or allow executable memory files (vm.memfd_noexec=0)\n`,
      );
    },
  );
});
