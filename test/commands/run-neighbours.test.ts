// What COMMAND and other processes of its user can read beside a `run`: the token always, the key only where the caller leaves it.

import { expect, test } from "bun:test";

import { lacks } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, CANARY_KEY } from "../harness/program.ts";
import { NO_TERMINAL, runScript } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { as, ORDINARY, reachableBinary } from "../harness/users.ts";

const { url } = new RawUpstream();

/** As COMMAND: its child, which has an environment of its own, reads the environments of COMMAND, of its caller and of its other children. */
const LOOK = `caller=$PPID; for p in $(ps -o pid= --ppid $$) $caller $$; do [ $p = $$ ] && who=COMMAND || who=other; [ $p = $caller ] && who=caller; env -i who=$who p=$p sh -c 'tr "\\0" "\\n" 2>/dev/null </proc/$p/environ | grep -o -e "^OPENAI_API_KEY=..." | sed "s/^/$who /"'; done; true`;

const BINARY = reachableBinary();
const WARNING = "warning: COMMAND can read the key: the process that started run has it in its environment\n";

/** Runs LOOK behind a proxy, from a shell that is there until COMMAND ends, and gets its key as `pipe` says. */
async function seen(
  pipe: string,
  env: Record<string, string>,
  namespace: readonly string[] = [],
): Promise<{ lines: string[]; isWarned: boolean }> {
  const { stdout, stderr } = await runScript(url, LOOK, {
    launcher: [...NO_TERMINAL, ...namespace, ...as(ORDINARY), "sh", "-c", `${pipe} "$0" "$@"; exit $?`],
    binary: BINARY,
    env: { ...BARE_ENVIRONMENT, ...env },
  });
  return { lines: stdout.split("\n").slice(0, -1), isWarned: stderr.includes(WARNING) };
}

const TOKEN = /^COMMAND OPENAI_API_KEY=(?!sk-)...$/;

test("COMMAND's own child reads the token in its environment, and the key in no process around it", async () => {
  expect(await seen("", {})).toEqual({ lines: [expect.stringMatching(TOKEN)], isWarned: false });
});

// No protection of the proxy's: what the documents and the warning say about the shell that has the key is true.
test.each([
  ["", "printenv OPENAI_API_KEY |"],
  [" though run does not get it", "printenv OPENAI_API_KEY | env -u OPENAI_API_KEY"],
])(
  "a shell that was started with the key keeps it%s, and COMMAND reads it there: a warning",
  async (_and, pipe) => {
    expect(CANARY_KEY).toStartWith("sk-");
    expect(await seen(pipe, { OPENAI_API_KEY: CANARY_KEY })).toEqual({
      lines: ["caller OPENAI_API_KEY=sk-", expect.stringMatching(TOKEN)],
      isWarned: true,
    });
  },
);

test.skipIf(lacks("root", "PID namespaces"))(
  "the same if that shell is process 1, as in a container (needs root, PID namespaces)",
  async () => {
    const namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const pipe = "printenv OPENAI_API_KEY | env -u OPENAI_API_KEY";
    expect(await seen(pipe, { OPENAI_API_KEY: CANARY_KEY }, namespace)).toEqual({
      lines: ["caller OPENAI_API_KEY=sk-", expect.stringMatching(TOKEN)],
      isWarned: true,
    });
  },
);

test("a shell that has exported it later has it in its memory: a warning", async () => {
  const pipe = `OPENAI_API_KEY='${CANARY_KEY}'; export OPENAI_API_KEY; printenv OPENAI_API_KEY |`;
  expect(await seen(pipe, {})).toEqual({ lines: [expect.stringMatching(TOKEN)], isWarned: true });
});
