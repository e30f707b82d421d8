// If the server-info file cannot be written whole, no part of it stays, under its name or another.

import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { inNamespace } from "../harness/hosts.ts";
import { lacks } from "../harness/needs.ts";
import { runProgram, temporaryDirectory } from "../harness/program.ts";
import { ALICE, as, BOB, reachableBinary } from "../harness/users.ts";

const PREFIX = "responses-api-proxy: ";

describe("--server-info", () => {
  test.skipIf(lacks("root", "mount namespaces"))(
    "on a full disk: an error, and no file stays (needs root, mount namespaces)",
    async () => {
      const directory = temporaryDirectory();
      const prepare = `mount -t tmpfs -o size=8k none ${directory}; head -c 8192 /dev/zero >${directory}/full`;
      const listed = `"$0" "$@"; code=$?; ls ${directory}; exit $code`;
      const launcher = [...inNamespace(prepare), "sh", "-c", listed];
      const args = ["--server-info", `${directory}/info.json`];
      expect(await runProgram({ launcher, args, input: "sk-x\n" })).toMatchObject({
        exitCode: 1,
        stdout: "full\n",
        stderr: `${PREFIX}error: cannot write --server-info '${directory}/info.json' (ENOSPC)\n${PREFIX}hint: make room there, or name a path on another file system\n`,
      });
    },
  );

  test("beyond the largest size that a file may have: an error, and no file stays", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "info.json");
    const launcher = ["prlimit", "--fsize=1:1"];
    const ended = await runProgram({ launcher, args: ["--server-info", file], input: "sk-x\n" });
    expect(ended).toMatchObject({
      exitCode: 1,
      stderr: `${PREFIX}error: cannot write --server-info '${file}' (EFBIG)\n`,
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  test.skipIf(lacks("root"))(
    "that is another user's, in a directory such as /tmp: an error that says so (needs root)",
    async () => {
      const directory = temporaryDirectory();
      chmodSync(directory, 0o1777);
      const file = join(directory, "info.json");
      writeFileSync(file, "bob's");
      chownSync(file, BOB, BOB);
      const args = ["--server-info", file];
      const binary = reachableBinary();
      expect(await runProgram({ binary, launcher: as(ALICE), args, input: "sk-x\n" })).toMatchObject({
        exitCode: 1,
        stderr: `${PREFIX}error: cannot write --server-info '${file}' (EPERM)\n${PREFIX}hint: it is another user's file, which a sticky directory keeps: name a path in a directory of your own\n`,
      });
      expect(readFileSync(file, "utf8")).toBe("bob's");
      expect(readdirSync(directory)).toEqual(["info.json"]);
    },
  );
});
