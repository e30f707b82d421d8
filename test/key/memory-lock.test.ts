// A limit on locked memory that is enough for now, and one that is not: the start and doctor say the same, and what can be done.

import { describe, expect, test } from "bun:test";

import { tightLimit } from "../../src/lockdown/memory-lock.ts";
import { compare, compareServing, onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { runProgram } from "../harness/program.ts";
import { ALICE, as, reachableBinary } from "../harness/users.ts";

const PREFIX = "responses-api-proxy: ";
const MIB = 2 ** 20;

test("how much room to grow is enough", () => {
  expect(tightLimit(Infinity)).toBeUndefined();
  expect(tightLimit(256 * MIB)).toBeUndefined();
  const tight = (left: number): string =>
    `RLIMIT_MEMLOCK leaves ${left} MiB to grow, and growing past it would end the proxy`;
  expect(tightLimit(255 * MIB)).toBe(tight(255));
  expect(tightLimit(-MIB)).toBe(tight(0));
});

const LITTLE = ["prlimit", "--memlock=65536:65536"];

describe.skipIf(lacks("root"))("memory (needs root)", () => {
  // The call that would fail does nothing here instead: so it seems to be locked, below a limit that is used up.
  test("locked up to a limit that is near: a warning, no refusal, and doctor says the same", async () => {
    const launcher = [...onKernel({ mlockall: "OK" }), ...LITTLE, ...as(ALICE)];
    const binary = reachableBinary(0o711);
    const { stderr, verdict, of } = await compareServing({ launcher, binary });
    expect(stderr).toMatch(/protections: not dumpable from exec, memory locked, /);
    const tight = "RLIMIT_MEMLOCK leaves 0 MiB to grow, and growing past it would end the proxy";
    expect(stderr).toContain(`${PREFIX}warning: memory is locked, but ${tight}\n`);
    const strictly = await runProgram({ launcher, binary, args: ["--strict"] });
    expect(strictly.stderr).toStartWith(`${PREFIX}error: standard input has no key in it\n`);
    expect(verdict.startsStrictly).toBe(true);
    expect(of("memory-lock")).toMatchObject({ status: "warning", found: `memory is locked, but ${tight}` });
  });

  test.skipIf(lacks("user namespaces"))(
    "the same for root of a user namespace, whose CAP_IPC_LOCK lifts no limit (needs user namespaces)",
    async () => {
      const asRoot = ["unshare", "--user", "--map-root-user"];
      const launcher = [...onKernel({ mlockall: "OK" }), ...LITTLE, ...as(ALICE), ...asRoot];
      const { of } = await compareServing({ launcher, binary: reachableBinary(0o711) });
      expect(of("memory-lock")).toMatchObject({
        status: "warning",
        found: expect.stringMatching(/^memory is locked, but RLIMIT_MEMLOCK leaves 0 MiB/),
      });
    },
  );

  test("not locked: the hint names the file that was started, if it has a name", async () => {
    const binary = reachableBinary(0o711);
    const setcap = (path: string): string =>
      `${PREFIX}hint: as root, give its file the capability: setcap cap_ipc_lock=ep ${path}\n`;
    const launcher = [...LITTLE, ...as(ALICE)];
    const args = ["--strict"];
    expect((await runProgram({ launcher, binary, args })).stderr).toContain(setcap(binary));
    // From a file that can be read, it is a copy in memory that runs.
    const copied = await runProgram({ launcher, binary: reachableBinary(), args });
    expect(copied.stderr).toContain(setcap("FILE"));
  });

  // As in a container: the kernel does not execute a file with a capability that is not in the bounding set.
  test("not locked, where no process may have the capability: the hint is not to give it to the file", async () => {
    const bounded = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"];
    const launcher = [...LITTLE, ...bounded, ...as(ALICE)];
    const { stderr } = await runProgram({ launcher, binary: reachableBinary(0o711), args: ["--strict"] });
    const limit = "docker run --ulimit memlock=-1, LimitMEMLOCK=infinity";
    expect(stderr).toContain(`${PREFIX}hint: have it started with RLIMIT_MEMLOCK unlimited: ${limit}\n`);
    expect(stderr).toContain(`${PREFIX}hint: or as root, with CAP_IPC_LOCK and --user\n`);
    expect(stderr).not.toContain("setcap");
  });

  test.skipIf(lacks("user namespaces"))(
    "not locked, in a user namespace, none of whose capabilities lifts the limit: the hint names none (needs user namespaces)",
    async () => {
      for (const map of [["--map-root-user"], []]) {
        const launcher = [...LITTLE, ...as(ALICE), "unshare", "--user", ...map];
        const { stderr } = await runProgram({ launcher, binary: reachableBinary(0o711), args: ["--strict"] });
        expect(stderr).toContain(`${PREFIX}error: memory is not locked (mlockall: `);
        expect(stderr).toContain(`${PREFIX}hint: have it started with RLIMIT_MEMLOCK unlimited: `);
        expect(stderr).not.toMatch(/setcap|give it CAP_IPC_LOCK|as root, with/);
      }
    },
  );

  test("that root may not lock: the hint is one for containers, and not to be root", async () => {
    const launcher = [...LITTLE, "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"];
    const { exitCode, stderr } = await runProgram({ launcher, args: ["--strict"] });
    expect(exitCode).toBe(11);
    expect(stderr).toContain(`${PREFIX}hint: give it CAP_IPC_LOCK, as with docker run --cap-add=IPC_LOCK\n`);
    expect(stderr).not.toContain("as root");
  });

  test("limited softly only: the limit is raised as far as it goes", async () => {
    const launcher = ["prlimit", "--memlock=4096:8388608", ...as(ALICE)];
    const { of } = await compare({ launcher });
    expect(of("key-pages")).toMatchObject({
      status: "ok",
      found: "locked while the key is read, left out of dumps and forks",
    });
  });
});
