// The second start: execve of ourselves, so that the process that meets the key was born with nothing of the caller's but what
// environment.ts keeps. What the caller's LD_PRELOAD or BUN_OPTIONS did to the first start ends with it.

import { EINVAL, ENOSYS, SystemCallError } from "../../native/ffi/libc.ts";
import { closeOthersOnExec, replaceBy } from "../../native/files/descriptors.ts";
import { becomeUser, keepMemoryLockCapability, type User } from "../../native/process/credentials.ts";
import { copyImage, executeCopy } from "../../native/process/image.ts";
import { execute, forbidInspection, forbidNewPrivileges } from "../../native/process/process.ts";
import { causeOf, EXIT, UserError } from "../base/errors.ts";
import { openDumpDirectory } from "../files/dump-directory.ts";
import { openKeyFile } from "../files/key-file.ts";
import { prepareDirectory } from "../files/server-info.ts";
import {
  cleanEnvironment,
  type Environment,
  isMarked,
  unclearProxy,
  unexpectedVariables,
} from "../input/environment.ts";
import { type Options, toArguments } from "../input/options.ts";
import { refuseFewDescriptors } from "./harden.ts";
import { shutIn } from "./sandbox.ts";
import { refuseWithoutRoot, resolveUser } from "./user.ts";

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
 * Starts again. Restrictions that survive execve and hold for every thread of the next process are put on here, in an order in which
 * each still may be; harden.ts looks at whether they hold. Throws UserError.
 */
export function rebirth(options: Options, environment: Environment): never {
  forbidInspection();
  // For what others must be able to read, whatever the caller's umask says; the proxy itself has no chmod(2) left.
  process.umask(0o022);
  const proxy = unclearProxy(environment);
  if (proxy !== undefined) {
    throw new UserError(`${proxy} must be a URL such as http://proxy.example:3128`, undefined, [
      `correct it, or start with env -u ${proxy}`,
    ]);
  }
  const clean = cleanEnvironment(environment);
  const user = options.user === undefined ? undefined : resolveUser(options.user);
  if (user !== undefined) refuseWithoutRoot();
  refuseFewDescriptors();
  // As whoever starts it: a key file that only root can read serves --user, too. From here on it is standard input.
  if (options.keyFile !== undefined) replaceBy(0, openKeyFile(options.keyFile));
  try {
    if (user === undefined) keepMemoryLockCapability();
    else dropRoot(user);
    if (options.serverInfo !== undefined) prepareDirectory(options.serverInfo);
    if (options.dumpDir !== undefined) openDumpDirectory(options.dumpDir).close();
    forbidNewPrivileges();
    const image = copyIfReadable();
    shutIn(options, clean, image);
    closeOthersOnExec();
    // The directory we were started in may belong to anyone; nothing is looked up in it from here on.
    process.chdir("/");
    const args = [...ourselves(), ...toArguments(options)];
    const variables = Object.entries(clean).map(([name, value]) => `${name}=${value}`);
    if (image === undefined) execute("/proc/self/exe", args, variables);
    executeCopy(image, args, variables);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const cause = error instanceof SystemCallError ? error.message : causeOf(error);
    const hint = hintFor(error);
    throw new UserError(
      `cannot start again with a clean environment (${cause})`,
      EXIT.rebirth,
      hint === undefined ? [] : [hint],
    );
  }
}

/** For --user, which leaves no supplementary groups. */
export const EXECUTABLE_NEEDED =
  "the user it runs as must be able to execute its file: chmod 0711, without setcap; of that user's groups only the primary one counts";

/** The kernel that has all the proxy cannot do without: close_range(2) with CLOSE_RANGE_CLOEXEC. */
export const KERNEL_NEEDED = "Linux 5.11 or later is required";

function hintFor(error: unknown): string | undefined {
  const isTooOld =
    error instanceof SystemCallError &&
    error.call === "close_range" &&
    (error.errno === EINVAL || error.errno === ENOSYS);
  if (isTooOld) return KERNEL_NEEDED;
  return causeOf(error) === "EACCES" ? EXECUTABLE_NEEDED : undefined;
}

function dropRoot(user: User): void {
  try {
    becomeUser(user);
  } catch (error) {
    const cause = error instanceof SystemCallError ? error.message : causeOf(error);
    throw new UserError(`cannot become user ${user.uid} (${cause})`, EXIT.user, [
      "this takes CAP_SETUID, CAP_SETGID and CAP_SETPCAP, which a container may have taken away",
    ]);
  }
}

/**
 * A copy that the kernel closes to others from its first instruction, where our own file is not such a one: where its user can read
 * it. Root needs none, because no process of another's gets into root's. Undefined, too, where a copy cannot be had.
 */
function copyIfReadable(): number | undefined {
  if (process.geteuid!() === 0) return undefined;
  try {
    return copyImage();
  } catch {
    return undefined;
  }
}

// What the build compiles in (package.json), for a start from source.
const RUNTIME_FLAGS = [
  "--config=/dev/null",
  "--no-env-file",
  "--smol",
  "--disallow-code-generation-from-strings=strict",
  "--max-http-header-size=65536",
];

/** The arguments before the program's own: its name, or from source Bun's, and Bun told to load nothing by itself. */
function ourselves(): string[] {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return isCompiled ? ["responses-api-proxy"] : ["bun", ...RUNTIME_FLAGS, Bun.main];
}
