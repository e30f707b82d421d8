// `run` as the tests call it: a key in standard input, a COMMAND, and a look at what is left when it is over.

import { readdirSync, readFileSync } from "node:fs";

import { until } from "./deadline.ts";
import { CANARY_KEY, type Ended, runProgram, type Start } from "./program.ts";

export type Run = Omit<Start, "args"> & { args?: readonly string[]; seconds?: number };

/** Without a controlling terminal, so that it does not matter where the tests were started. */
export const NO_TERMINAL = ["setsid", "--wait"];

/** Runs COMMAND behind a proxy for that upstream, to its end. Every process of the run has ended by then, or the test fails. */
export async function runWith(url: string, command: readonly string[], run: Run = {}): Promise<Ended> {
  const { args = [], ...start } = run;
  const ended = await runProgram({
    launcher: NO_TERMINAL,
    input: `${CANARY_KEY}\n`,
    ...start,
    args: ["run", `--upstream-url=${url}`, ...args, "--", ...command],
  });
  await until(() => processesOf(url).length === 0, "every process of the run to end", {
    seen: () => processesOf(url).join("\n"),
  });
  return ended;
}

/** The same with a script of sh as COMMAND. */
export function runScript(url: string, script: string, run: Run = {}): Promise<Ended> {
  return runWith(url, ["sh", "-c", script], run);
}

/** The processes that have the upstream's URL among their arguments: the proxy's, and those of `run` itself. */
export function processesOf(url: string): string[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return words.includes(`--upstream-url=${url}`) ? [`${pid} ${words.join(" ")}`] : [];
      } catch {
        return [];
      }
    });
}

/** The lines of standard error without the program's name. */
export function linesOf(stderr: string): string[] {
  return stderr
    .split("\n")
    .slice(0, -1)
    .map((line) => line.replace(/^responses-api-proxy: /, ""));
}
