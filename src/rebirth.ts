// The second start: execve of ourselves, so that the process that meets the key was born with nothing of the caller's but what
// environment.ts keeps. What the caller's LD_PRELOAD or BUN_OPTIONS did to the first start ends with it.

import { closeOthersOnExec } from "../native/descriptors.ts";
import { SystemCallError } from "../native/libc.ts";
import { execute, forbidNewPrivileges, limitCoreDumps, raiseFileLimit } from "../native/process.ts";
import { cleanEnvironment, type Environment, isMarked, unexpectedVariables } from "./environment.ts";
import { EXIT, UserError } from "./errors.ts";
import { type Options, toArguments } from "./options.ts";

/** Whether this is the second start. Throws UserError where the mark is there and the rest is not: somebody else set it. */
export function isReborn(environment: Environment): boolean {
  if (!isMarked(environment)) return false;
  const unexpected = unexpectedVariables(environment);
  if (unexpected.length > 0) {
    throw new UserError(`not started with a clean environment: ${unexpected.join(", ")}`, EXIT.rebirth, [
      "RESPONSES_API_PROXY_STAGE is the program's own; start it without",
    ]);
  }
  return true;
}

/**
 * Starts again. Restrictions that survive execve and hold for every thread of the next process are put on here;
 * harden.ts looks at whether they hold. Throws UserError.
 */
export function rebirth(options: Options, environment: Environment): never {
  limitCoreDumps();
  raiseFileLimit();
  forbidNewPrivileges();
  try {
    const clean = cleanEnvironment(environment);
    closeOthersOnExec();
    // The directory we were started in may belong to anyone; nothing is looked up in it from here on.
    process.chdir("/");
    execute("/proc/self/exe", [...ourselves(), ...toArguments(options)], clean);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    throw new UserError(`cannot start again with a clean environment (${error.message})`, EXIT.rebirth);
  }
}

// What the build compiles in (package.json), for a start from source.
const RUNTIME_FLAGS = ["--config=/dev/null", "--no-env-file", "--max-http-header-size=65536"];

/** The arguments before the program's own: its name, or from source Bun's, and Bun told to load nothing by itself. */
function ourselves(): string[] {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return isCompiled ? ["responses-api-proxy"] : ["bun", ...RUNTIME_FLAGS, Bun.main];
}
