// `run` as the users who call it: an ordinary one, root with the proxy as another user, and root with COMMAND as another user.

import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { until } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import {
  BARE_ENVIRONMENT,
  CANARY_KEY,
  installedBinary,
  runProgram,
  temporaryDirectory,
} from "../harness/program.ts";
import { linesOf, NO_TERMINAL, processesOf, runScript, runWith } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { ALICE, as, BOB, ORDINARY, reachableBinary, UNREADABLE } from "../harness/users.ts";

const { url } = new RawUpstream();
const ASK = `curl -s -d hi -H "Authorization: Bearer $OPENAI_API_KEY" "$OPENAI_BASE_URL/responses"`;

/** A codex of its own in a directory that every user reaches, and a directory for the shim. */
const place = temporaryDirectory();
mkdirSync(join(place, "bin"));
writeFileSync(join(place, "bin/codex"), `#!/bin/sh\n[ "$1" = -c ] && id -u && ${ASK}\n`, { mode: 0o755 });
mkdirSync(join(place, "tmp"));
chmodSync(join(place, "tmp"), 0o1777);
const env = {
  PATH: `${place}/bin:${BARE_ENVIRONMENT.PATH}`,
  TMPDIR: join(place, "tmp"),
  OPENAI_API_KEY: CANARY_KEY,
};
const shims = (): string[] => readdirSync(join(place, "tmp"));

describe("an ordinary user", () => {
  const FILES = { "a file that it cannot read": UNREADABLE, "a file that it can read": 0o755 };
  test.each(Object.entries(FILES))("from %s", async (_which, mode) => {
    const { stdout, exitCode } = await runWith(url, ["codex", "exec"], {
      launcher: [...NO_TERMINAL, ...as(ORDINARY)],
      binary: reachableBinary(mode),
      env,
    });
    expect({ stdout, exitCode }).toEqual({ stdout: `${ORDINARY}\nok`, exitCode: 0 });
    expect(shims()).toEqual([]);
  });

  test("COMMAND, of the same user, gets into neither of the two processes beside it, from a file that it can read", async () => {
    const script = `until [ "$(ps -o comm= --ppid $$ | grep -c '^responses-')" = 2 ]; do sleep 0.05; done; for p in $(ps -o pid=,comm= --ppid $$ | awk '/responses-/ { print $1 }') $$; do for f in environ maps fd; do head -c 1 /proc/$p/$f >/dev/null 2>&1 || ls /proc/$p/$f/ >/dev/null 2>&1 || continue; [ $p = $$ ] && echo "itself $f" || echo "$p $f"; done; done`;
    const { stdout } = await runScript(url, script, {
      launcher: [...NO_TERMINAL, ...as(ORDINARY)],
      binary: reachableBinary(),
      env,
    });
    expect(stdout).toBe("itself environ\nitself maps\nitself fd\n");
  });

  test("while the key is awaited, another process of this user gets neither the key's pipe nor the environment", async () => {
    const child = Bun.spawn(
      [...as(ORDINARY), reachableBinary(), "run", `--upstream-url=${url}`, "--", "true"],
      {
        stdio: ["pipe", "ignore", "ignore"],
        env: { ...BARE_ENVIRONMENT, OPENAI_API_KEY: CANARY_KEY },
      },
    );
    const tries = ["head -c 1 environ", "readlink fd/0", "head -c 1 mem", "head -c 1 maps"];
    const attack = `kill -0 ${child.pid} && echo there; cd /proc/${child.pid}; ${tries.map((one) => `${one} >/dev/null 2>&1 && echo ${one}`).join("; ")}; echo over`;
    try {
      await until(() => processesOf(url).length === 2, "the proxy to be started");
      const { stdout } = await runProgram({
        launcher: as(ORDINARY),
        binary: "sh",
        args: ["-c", attack],
      });
      expect(stdout).toBe("there\nover\n");
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await until(() => processesOf(url).length === 0, "the proxy to end");
    }
  });

  test.skipIf(lacks("root", "setcap"))(
    "from a file with cap_ipc_lock, which COMMAND does not get (needs root, setcap)",
    async () => {
      const binary = installedBinary(0o711);
      expect(Bun.spawnSync(["setcap", "cap_ipc_lock=ep", binary]).exitCode).toBe(0);
      const script = `grep -h CapPrm /proc/self/status; echo "$TMPDIR $LD_LIBRARY_PATH"; ${ASK}`;
      const { stdout } = await runScript(url, script, {
        launcher: [...NO_TERMINAL, ...as(ALICE)],
        binary,
        env: { ...env, LD_LIBRARY_PATH: "/nowhere" },
      });
      expect(stdout).toBe(`CapPrm:\t0000000000000000\n${place}/tmp /nowhere\nok`);
    },
  );
});

describe.skipIf(lacks("root"))("root (needs root)", () => {
  const binary = reachableBinary(0o711);

  test("with --user: the proxy is that user, and COMMAND is root", async () => {
    const script = `id -u; ps -o uid=,comm= --ppid $$ | awk '/responses-/ { print $1, $2 }' | sort; ${ASK}`;
    const { stdout } = await runScript(url, script, { binary, args: [`--user=${ALICE}`], env });
    expect(stdout).toMatch(new RegExp(`^0\\n(0 responses-\\S+\\n)?${ALICE} responses-proxy\\nok$`));
  });

  test("COMMAND as another user: served, told, and the proxy ends with it", async () => {
    const codex = [...as(BOB), "codex"];
    const { stdout, exitCode } = await runWith(url, codex, { binary, args: [`--user=${ALICE}`], env });
    expect({ stdout, exitCode }).toEqual({ stdout: `${BOB}\nok`, exitCode: 0 });
    expect(shims()).toEqual([]);
    const killed = await runScript(
      url,
      `exec ${as(BOB).slice(0, -3).join(" ")} sh -c 'trap "echo told" TERM; echo up; sleep 1 & wait; wait; exit 5'`,
      {
        binary,
        args: [`--user=${ALICE}`, "--lifetime=300ms"],
        env,
      },
    );
    expect(killed).toMatchObject({ stdout: "up\ntold\n", exitCode: 5 });
    expect(linesOf(killed.stderr)[0]).toBe(
      "warning: the proxy ended before COMMAND, which was told by SIGTERM",
    );
  });

  test("COMMAND as another user, and the watcher killed: the proxy ends all the same", async () => {
    const kill = `kill -KILL $(ps -o pid=,comm= --ppid $$ | awk '$2 == "responses-watch" { print $1 }')`;
    const become = as(BOB)
      .slice(0, -1)
      .map((word) => `'${word}'`)
      .join(" ");
    const script = `sleep 0.5; ${kill}; exec ${become} 'exit 0'`;
    const { exitCode } = await runScript(url, script, { binary, args: [`--user=${ALICE}`], env });
    expect(exitCode).toBe(0);
  });

  test("a key file that only root can read", async () => {
    const file = join(temporaryDirectory(), "key");
    writeFileSync(file, CANARY_KEY, { mode: 0o600 });
    const { stdout } = await runWith(
      url,
      [...as(BOB), "sh", "-c", `cat ${file} 2>&1 | grep -c denied; ${ASK}`],
      {
        binary,
        args: [`--user=${ALICE}`, `--key-file=${file}`],
        env,
        input: "",
      },
    );
    expect(stdout).toBe("1\nok");
    expect(existsSync(file)).toBe(true);
  });

  test("the user that the proxy runs as gets nothing out of the processes of a run", async () => {
    const bob = as(BOB).slice(0, -3).join(" ");
    // The neighbour, of the same user and open to it, shows that the attack works.
    const script = `${bob} sleep 9 & s=$!; sleep 0.2; for p in $(ps -o pid= --ppid $PPID) $PPID $s; do for f in environ maps fd cwd; do if ${bob} sh -c "cat /proc/$p/$f >/dev/null 2>&1 || ls /proc/$p/$f/ >/dev/null 2>&1"; then [ $p = $s ] && p=neighbour; echo "$p $f"; p=\${p#neighbour}; p=\${p:-$s}; fi; done; done; kill $s; echo over`;
    const { stdout } = await runScript(url, `sh -c '${script.replaceAll("'", "'\\''")}'`, {
      binary,
      env,
      args: [`--user=${BOB}`],
    });
    expect(stdout).toBe("neighbour environ\nneighbour maps\nneighbour fd\nneighbour cwd\nover\n");
  });
});
