// In a user namespace whose owner is the attacker: what is said, and that it is true.

import { describe, expect, test } from "bun:test";
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { compare } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, runProgram, temporaryDirectory } from "../harness/program.ts";
import { ALICE, as, BOB, reachableBinary, runAs } from "../harness/users.ts";

const UNSHARE = ["unshare", "--user", "--map-current-user"];
const WARNING = /warning: the process is in a user namespace, whose owner's processes can read its memory\n/;

/** Whether another process of that user, which stays outside, can trace the proxy, and so read all of it: "OK" or why not. */
async function traceOf(proxy: Proxy): Promise<string> {
  const doors = JSON.parse(await runAs(ALICE, "attacker.ts", String(proxy.pid), "0")) as Record<
    string,
    string
  >;
  return doors["ptrace(PTRACE_ATTACH)"]!;
}

describe.skipIf(lacks("root", "user namespaces"))(
  "a proxy of the user's (needs root, user namespaces)",
  () => {
    test("in the user's own namespace: a warning, and the user's other processes do read its memory", async () => {
      const launcher = [...as(ALICE), ...UNSHARE];
      const proxy = await Proxy.start({ launcher, binary: reachableBinary() });
      await proxy.waitForLine(WARNING);
      expect(await traceOf(proxy)).toBe("OK");
    });

    test("in the user's own namespace, from root's file that the user cannot read: closed, and no warning", async () => {
      const launcher = [...as(ALICE), ...UNSHARE];
      const proxy = await Proxy.start({ launcher, binary: reachableBinary(0o711) });
      await proxy.waitForLine(/protections: .*\n/);
      expect(await traceOf(proxy)).toBe("EPERM");
      expect(proxy.stderr).not.toContain("user namespace");
    });

    test("outside: closed, and no warning", async () => {
      const proxy = await Proxy.start({ launcher: as(ALICE), binary: reachableBinary() });
      await proxy.waitForLine(/protections: .*\n/);
      expect(await traceOf(proxy)).toBe("EPERM");
      expect(proxy.stderr).not.toContain("user namespace");
    });

    test("--strict refuses it, and doctor says so before", async () => {
      const binary = reachableBinary();
      const { strictly, of } = await compare({ launcher: [...as(ALICE), ...UNSHARE], binary });
      expect(strictly.stderr).toContain("error: the process is in a user namespace, whose owner's processes");
      expect(of("user-namespace")!.status).toBe("warning");
      const outside = await compare({ launcher: as(ALICE), binary });
      expect(outside.strictly.stderr).not.toContain("user namespace");
      expect(outside.of("user-namespace")!.status).toBe("ok");
    });

    // The kernel shows all users that are not mapped as this one: root outside, others, and here the process itself.
    const NOBODY = 65_534;
    const UNMAPPED = ["unshare", "--user"];

    test("that does not map the proxy's own user: files of all others are not taken for its own", async () => {
      const directory = temporaryDirectory();
      chownSync(directory, BOB, BOB);
      const binary = reachableBinary();
      const refusal = `the directory / is user ${NOBODY}'s`;
      for (const flag of ["server-info", "client-token", "socket", "dump-dir"]) {
        const args = [`--${flag}=${directory}/x`];
        const { exitCode, stderr } = await runProgram({
          launcher: [...as(ALICE), ...UNMAPPED],
          binary,
          args,
        });
        expect(stderr).toContain(`error: cannot write --${flag} '${directory}/x': ${refusal}\n`);
        expect(exitCode).toBe(1);
      }
      writeFileSync(join(directory, "info"), '{"port":1,"pid":1}\n');
      const asked = { binary, args: ["status", `${directory}/info`] };
      const told = await runProgram({ ...asked, launcher: [...as(ALICE), ...UNMAPPED] });
      expect(told.stderr).toContain(`no proxy by '${directory}/info': ${refusal}\n`);
      // The neighbours: it serves, and outside the same user writes to a directory of its own.
      await Proxy.start({ launcher: [...as(ALICE), ...UNMAPPED], binary });
      chownSync(directory, ALICE, ALICE);
      await Proxy.start({ launcher: as(ALICE), binary, args: [`--server-info=${directory}/x`] });
    });

    test("that does not map a user whom --allow-user or --of-user names: refused, for that ID is many users'", async () => {
      const start = { binary: reachableBinary(), launcher: [...as(ALICE), ...UNSHARE] };
      for (const id of [NOBODY, BOB]) {
        const { exitCode, stderr } = await runProgram({ ...start, args: [`--allow-user=${id}`] });
        expect(stderr).toStartWith(
          `responses-api-proxy: error: --allow-user '${id}' is user ${id}, whom this user namespace does not map\n`,
        );
        expect(exitCode).toBe(2);
      }
      const asked = await runProgram({ ...start, args: ["status", "/info", `--of-user=${NOBODY}`] });
      expect(asked.stderr).toStartWith(
        `responses-api-proxy: error: --of-user '${NOBODY}' is user ${NOBODY}, whom this user namespace does not map\n`,
      );
      expect(asked.exitCode).toBe(2);
      // The neighbours: one whom it maps, and outside anybody.
      await Proxy.start({ ...start, args: [`--allow-user=${ALICE}`] });
      await Proxy.start({ ...start, launcher: as(ALICE), args: [`--allow-user=${NOBODY}`] });
    });
  },
);
