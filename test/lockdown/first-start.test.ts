// The first of the two starts, which has the key's pipe as standard input, is closed to other processes of its user, too.
// The test holds it just before it executes its copy, so that an attacker has enough time.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { syscallNumber } from "../../native/ffi/syscalls.ts";
import { until } from "../harness/deadline.ts";
import { onKernel } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { ALICE, as, reachableBinary, runAs } from "../harness/users.ts";

describe.skipIf(lacks("root"))("the first start (needs root)", () => {
  test("every door is closed to another process of the same user, its standard input's included", async () => {
    const directory = temporaryDirectory();
    const [pidFile, go] = [join(directory, "pid"), join(directory, "go")];
    const launcher = ["sh", "-c", `echo $$ >${pidFile}; exec "$0" "$@"`];
    const starting = Proxy.start({
      binary: reachableBinary(),
      launcher: [...launcher, ...onKernel({ execveat: `once ${go}` }), ...as(ALICE)],
    });
    const execveat = `${syscallNumber("execveat")} `;
    const pid = await until(() => {
      try {
        const held = Number(readFileSync(pidFile, "utf8"));
        return readFileSync(`/proc/${held}/syscall`, "latin1").startsWith(execveat) ? held : 0;
      } catch {
        return 0;
      }
    }, "the first start to execute its copy");
    const doors = JSON.parse(await runAs(ALICE, "attacker.ts", String(pid), "4096"));
    expect(Object.keys(doors).length).toBeGreaterThan(20);
    for (const [door, result] of Object.entries(doors))
      expect(result, door).toMatch(/^(EACCES|EPERM|ENOENT)$/);
    // The attacked process was the program, which goes on to serve.
    writeFileSync(go, "");
    expect((await starting).pid).toBe(pid);
  });
});
