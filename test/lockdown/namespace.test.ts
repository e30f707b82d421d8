// In a user namespace whose owner is the attacker: what is said, and that it is true.

import { describe, expect, test } from "bun:test";

import { compare } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { installedBinary, Proxy } from "../harness/program.ts";
import { ALICE, as, reachableBinary, runAs } from "../harness/users.ts";

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
      const proxy = await Proxy.start({ launcher, binary: installedBinary(0o755) });
      await proxy.waitForLine(WARNING);
      expect(await traceOf(proxy)).toBe("OK");
    });

    test("in the user's own namespace, from root's file that the user cannot read: closed, and no warning", async () => {
      const launcher = [...as(ALICE), ...UNSHARE];
      const proxy = await Proxy.start({ launcher, binary: installedBinary(0o711) });
      await proxy.waitForLine(/protections: .*\n/);
      expect(await traceOf(proxy)).toBe("EPERM");
      expect(proxy.stderr).not.toContain("user namespace");
    });

    test("outside: closed, and no warning", async () => {
      const proxy = await Proxy.start({ launcher: as(ALICE), binary: installedBinary(0o755) });
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
  },
);
