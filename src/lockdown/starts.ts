// The two starts, as lists of steps. The order is the security argument: each comment says what a step needs, or what it makes impossible for
// everything after it. `doctor` goes through the same steps and stops where the key would be read.

import { closeInheritedOnExec, replaceBy } from "../../native/files/descriptors.ts";
import { keepMemoryLockCapability } from "../../native/process/credentials.ts";
import { SecretPages } from "../../native/process/memory.ts";
import { ownStatus, threadCount } from "../../native/process/proc-status.ts";
import {
  askForSignalAtParentsEnd,
  forbidNewPrivileges,
  limitCoreDumps,
  makeUndumpable,
  parentPid,
  setProcessName,
  SIGUSR2,
} from "../../native/process/process.ts";
import { EXIT, UserError } from "../base/errors.ts";
import * as terminal from "../base/terminal.ts";
import { openKeyFile } from "../files/key-file.ts";
import { preparePlaces } from "../files/places.ts";
import { noteRunningProxy, PROCESS_NAME } from "../files/server-info.ts";
import { reportUnusedProxyVariables } from "../input/advice/mistakes.ts";
import { cleanEnvironment, type Environment, refuseUnclearProxyVariable } from "../input/environment.ts";
import { type Options, toArguments } from "../input/options.ts";
import { PARENT } from "../input/starter.ts";
import { checkDirectories } from "./directories.ts";
import { checkFile, checkNamespace } from "./file.ts";
import { checkKeySource } from "./key-source.ts";
import { lockMemory } from "./memory-lock.ts";
import type { Protection } from "./protections.ts";
import { copyIfReadable, executeAgain, explainFailure, isPrepared } from "./reexec.ts";
import { refuseFewDescriptors, refuseTracer, refuseWithoutNull } from "./refusals.ts";
import { checkLandlock, installSyscallFilter, restrictAccess } from "./sandbox.ts";
import { becomeOrRefuse, userOf, verifyUser, withNumbers } from "./user.ts";

/**
 * The first start: replaces the process by the second, with `words` before the options. Restrictions that survive execve are applied here, so that
 * they hold for every thread of the next process. Throws UserError.
 *
 * Returns in one case: `run` or --background has prepared this process, with a clean environment and none of the caller's descriptors but the
 * standard ones, and nothing is left that only an execve ends. Then the second start goes on with the options that are returned.
 */
export function firstStart(words: readonly string[], given: Options, caller: Environment): Options {
  // First, so that an end of the parent meanwhile is seen.
  const environment = given.exitWithParent
    ? { ...caller, [PARENT]: caller[PARENT] ?? parentOrRefuse() }
    : caller;
  // 1. No ptrace, no /proc/PID/mem: other processes of this user could take the key's pipe, which is standard input. An execve undoes it.
  makeUndumpable();
  // 2. What other users must read is readable, whatever the caller's umask is. The proxy has no chmod(2) left.
  process.umask(0o022);
  // 3. Tell what the second start cannot, and refuse what would fail there with less to say, before anything is opened.
  reportUnusedProxyVariables(given, environment);
  refuseUnclearProxyVariable(environment);
  const options = withNumbers(given);
  const user = userOf(options);
  refuseFewDescriptors();
  // 4. Open the key file with the caller's rights, so that --user can use one that only root can read.
  const keyFile = options.keyFile === undefined ? undefined : openKeyFile(options.keyFile);
  return explainFailure(() => {
    // 5. Give up root, and every capability but CAP_IPC_LOCK. Everything after this has the rights of the proxy's user.
    if (user === undefined) keepMemoryLockCapability();
    else becomeOrRefuse(user);
    // Again: a change of user makes the process dumpable if fs.suid_dumpable is 1 (proc(5)).
    if (user !== undefined) makeUndumpable();
    // 6. Check what the proxy will write to, as the user who will write.
    refuseWithoutNull();
    preparePlaces(options, keyFile);
    if (options.serverInfo !== undefined) noteRunningProxy(options.serverInfo, options, words.length > 0);
    // 7. Nothing that is executed from here on gains privileges (set-user-ID, file capabilities). Landlock and seccomp require it.
    forbidNewPrivileges();
    // 8. Copy the program out of the user's reach if the user can read its file: the kernel closes a process to others from its first
    //    instruction only if they cannot read what it executes.
    const image = copyIfReadable();
    // 9. Restrict files, ports and signals (Landlock).
    const clean = cleanEnvironment(environment, "reexec");
    restrictAccess(options, clean, image);
    // 10. Leave the caller's working directory behind and, with the execve, its descriptors, environment and memory. A prepared process has none.
    closeInheritedOnExec();
    if (keyFile !== undefined) replaceBy(0, keyFile);
    process.chdir("/");
    const needsExecve =
      !isPrepared(caller) ||
      // It was root's.
      user !== undefined ||
      // The copy is what others cannot look into.
      image !== undefined ||
      // What steps 5, 7 and 9 gave up and restricted is this thread's, and that of threads that it makes later.
      threadCount() > 1;
    // The key file is standard input by now, as it is after an execve.
    if (!needsExecve) return { ...options, keyFile: undefined };
    executeAgain(image, [...words, ...toArguments(options)], clean);
  });
}

/** The parent's pid. `run` has said it before. Throws UserError if the parent's end cannot be seen. */
function parentOrRefuse(): string {
  const pid = parentPid();
  if (pid === 0)
    throw new UserError(
      "--exit-with-parent: the parent is in another PID namespace, and its end is not seen here",
    );
  if (pid === 1)
    terminal.warning(
      "--exit-with-parent: the parent is process 1, or has ended: the proxy ends with process 1",
      ["start it from the process that it is to end with"],
    );
  return String(pid);
}

/** What holds in the second start, and the pages for the key. */
type Secured = { protections: Protection[]; keyPages: SecretPages };

/**
 * The second start, up to the key: closes the process that will hold it, and reads back from the kernel what holds. `openEarly` opens what the
 * filter forbids. `wasDumpable`: as the kernel made the process at its last execve, before any step of ours. Throws
 * UserError if the key cannot be protected at all; the caller decides about the rest.
 */
export function secondStart<Opened>(
  options: Options,
  wasDumpable: boolean,
  openEarly: () => Opened,
): Secured & { early: Opened } {
  // 1. No ptrace, no /proc/PID/mem, for good. First, because after an execve of a readable file they were possible until here.
  if (!makeUndumpable()) throw unprotected("the process cannot be made undumpable");
  const status = ownStatus();
  // 2. The first start must have become the user for good.
  const user = verifyUser(options, status);
  // 3. A tracer that was there before step 1 still reads everything.
  refuseTracer(status);
  setProcessName(PROCESS_NAME);
  // 4. Read back what the first start did: the mark that says that there was one can be forged.
  if (!forbidNewPrivileges()) throw unprotected("no_new_privs cannot be set");
  // 5. No core dump, even if root makes the process dumpable again.
  const core = limitCoreDumps();
  if (core.soft > 1n || core.hard > 1n) throw unprotected("core dumps cannot be forbidden");
  // 6. Lock all memory, present and future, before there is a key in it. Then map the pages the key is read into.
  const memory = lockMemory(status);
  const keyPages = new SecretPages(KEY_PAGES_BYTES);
  // 7. Open what the filter will forbid.
  const early = openEarly();
  const source = checkKeySource();
  const directories = checkDirectories(options);
  // 8. After the last change of user and execve, which undo it.
  if (options.exitWithParent) askForSignalAtParentsEnd(SIGUSR2);
  // 9. Last, because they take away what the steps before need: files beyond the first start's, then system calls on every thread.
  const landlock = checkLandlock();
  const calls = installSyscallFilter();
  const protections = [
    ...checkFile({ wasDumpable, startedByRoot: options.user !== undefined }),
    checkNamespace({ wasDumpable }),
    memory,
    { id: "core-dumps", held: "no core" } as const,
    describeKeyPages(keyPages),
    ...source,
    ...directories,
    landlock,
    ...calls,
    user,
  ];
  return { protections, keyPages, early };
}

/** Throws UserError for the protections that do not hold: the first, with all the others. For --strict. */
export function refuseGaps(protections: readonly Protection[]): void {
  const [first, ...others] = protections.flatMap(({ gap }) =>
    gap === undefined || gap.isTolerated ? [] : [new UserError(gap.message, EXIT.strict, gap.hints)],
  );
  if (first !== undefined) throw new UserError(first.message, first.exitCode, first.hints, others);
}

/** Room for the header value of the longest key, and as much again: a key that is too long is seen to be. */
const KEY_PAGES_BYTES = 2 * 4096;

function describeKeyPages({ missing }: SecretPages): Protection {
  if (missing.length === 0)
    return { id: "key-pages", note: "locked while the key is read, left out of dumps and forks" };
  return {
    id: "key-pages",
    gap: {
      message: `${missing.join(", ")} failed for the pages that the key is read into`,
      hints: [
        "RLIMIT_MEMLOCK must allow 16 KiB (two pages, if those are larger), and the kernel must be 4.14 or later",
      ],
    },
  };
}

function unprotected(message: string): UserError {
  return new UserError(message, EXIT.unprotected);
}
