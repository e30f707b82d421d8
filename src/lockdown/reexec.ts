// How the first start executes the second: from which file, with which arguments and environment, and what it says if that fails.

import { EINVAL, ENOSYS, SystemCallError } from "../../native/ffi/libc.ts";
import { copyImage, executeCopy } from "../../native/process/image.ts";
import { execute } from "../../native/process/process.ts";
import { causeOf, EXIT, UserError } from "../base/errors.ts";
import { claimedStage, type Environment, type Stage, unexpectedVariables } from "../input/environment.ts";
import { STARTER } from "../input/starter.ts";

/** What this start is; undefined if it is a caller's. Throws UserError if only the mark says so: then somebody else has set it. */
export function stageOf(environment: Environment): Stage | undefined {
  const stage = claimedStage(environment);
  if (stage === undefined) return undefined;
  const unexpected = unexpectedVariables(environment, stage);
  if (unexpected.length > 0) {
    throw new UserError(`not started with a clean environment: ${unexpected.join(", ")}`, EXIT.reexec, [
      "RESPONSES_API_PROXY_STAGE is internal: unset it",
    ]);
  }
  return stage;
}

/** Whether `run` or --background claims to have prepared this process. Whether it is there, `Starter.of` sees later: descriptor 1 must be a socket to it. */
export function isPrepared(environment: Environment): boolean {
  return claimedStage(environment) === "prepared" && environment[STARTER] !== undefined;
}

/**
 * Copies the program's file if the user can read it, and returns the copy's descriptor; undefined if there is no need, or no copy can be
 * made. Root needs none, because no other user's process gets into root's.
 */
export function copyIfReadable(): number | undefined {
  if (process.geteuid!() === 0) return undefined;
  try {
    return copyImage();
  } catch {
    // The second start sees that it runs from the file itself, and says what that means.
    return undefined;
  }
}

/** Replaces the process: by the copy if there is one, else by the program's own file. Returns only by throwing SystemCallError. */
export function executeAgain(
  image: number | undefined,
  args: readonly string[],
  environment: Environment,
): never {
  const argv = [...programWords(), ...args];
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  if (image === undefined) execute("/proc/self/exe", argv, variables);
  executeCopy(image, argv, variables);
}

/** What the build compiles in (packaging/build.ts), for a start from source. */
const RUNTIME_FLAGS = [
  "--config=/dev/null",
  "--no-env-file",
  "--smol",
  "--disallow-code-generation-from-strings=strict",
  "--max-http-header-size=65536",
];

/** Whether the program is a compiled file, and not run from source by Bun's. */
export function isCompiled(): boolean {
  return Bun.main.startsWith("/$bunfs/");
}

/** The words before the program's own arguments: its name, or from source Bun's, told to load nothing by itself. */
export function programWords(): string[] {
  return isCompiled() ? ["responses-api-proxy"] : ["bun", ...RUNTIME_FLAGS, Bun.main];
}

/** Runs steps of the first start. What fails becomes a UserError that says which system call did. */
export function explainFailure<T>(steps: () => T): T {
  try {
    return steps();
  } catch (error) {
    if (error instanceof UserError) throw error;
    const cause = error instanceof SystemCallError ? error.message : causeOf(error);
    const hint = hintFor(error);
    throw new UserError(
      `cannot start again with a clean environment (${cause})`,
      EXIT.reexec,
      hint === undefined ? [] : [hint],
    );
  }
}

function hintFor(error: unknown): string | undefined {
  // The one call without which the proxy cannot start that some kernels do not have: close_range(2) with CLOSE_RANGE_CLOEXEC.
  const isTooOld =
    error instanceof SystemCallError &&
    error.call === "close_range" &&
    (error.errno === EINVAL || error.errno === ENOSYS);
  if (isTooOld) return "Linux 5.11 or later is required";
  // With --user there are no supplementary groups.
  return causeOf(error) === "EACCES"
    ? "the user it runs as must be able to execute its file: chmod 0711, without setcap; of that user's groups only the primary one counts"
    : undefined;
}
