// `responses-api-proxy doctor`: what would hold on this host for this user. It does what the start of the proxy does, as far as that
// can be done without a key, in a process that ends with it; so most of what it says was tried and not concluded.

import { SystemCallError } from "../../../native/ffi/libc.ts";
import {
  becomeUser,
  keepMemoryLockCapability,
  permittedCapabilities,
} from "../../../native/process/credentials.ts";
import { EXIT, type ExitCode } from "../../base/errors.ts";
import * as terminal from "../../base/terminal.ts";
import { cleanEnvironment, type Environment } from "../../input/environment.ts";
import { refuseWithoutRoot, resolveUser } from "../../lockdown/user.ts";
import { type Check, fatal } from "./checks.ts";
import { checkFile, isReadable } from "./file.ts";
import { checkHost } from "./host.ts";
import { checkKernel, checkSandbox } from "./kernel.ts";
import { checkMemory } from "./memory.ts";
import { toJson, toLines } from "./report.ts";
import { checkEnvironment, checkUpstream } from "./upstream.ts";
import { checkUser } from "./user.ts";

export type DoctorOptions = Readonly<{ upstreamUrl: URL; user: string | undefined; json: boolean }>;

/** 0 where the proxy would start and reach its upstream, 1 where not. Throws UserError for a --user that cannot be. */
export async function doctor(options: DoctorOptions, environment: Environment): Promise<ExitCode> {
  const { upstreamUrl, user, json } = options;
  if (user !== undefined) refuseWithoutRoot();
  const isRoot = process.geteuid!() === 0;
  const capabilities = permittedCapabilities();
  const changed = becomeAsTheProxyWould(user);
  const clean = cleanEnvironment(environment);
  const isOpen = isReadable() && process.geteuid!() !== 0;
  const checks = [
    ...checkUser({ isRoot, user, capabilities, changed }),
    ...checkFile({ startedByRoot: isRoot }),
    ...checkKernel({ isOpen, startedByRoot: isRoot }),
    ...checkMemory(),
    ...(await checkHost()),
    ...checkEnvironment(environment, clean),
    ...(await checkUpstream(upstreamUrl, clean)),
    // Last, because it restricts this process, too.
    ...checkSandbox(),
  ];
  const report = { upstreamUrl, uid: process.geteuid!(), checks };
  terminal.output(json ? toJson(report) : toLines(report, terminal.hasColours(environment)));
  return checks.some(({ status }) => status === "fatal") ? EXIT.cannotStart : EXIT.clean;
}

/** From here on the process has the rights that the proxy would have, so that whoever looks sees what the proxy would see. */
function becomeAsTheProxyWould(user: string | undefined): Check | undefined {
  try {
    if (user === undefined) keepMemoryLockCapability();
    else becomeUser(resolveUser(user));
    return undefined;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return fatal(
      "user",
      `cannot become user ${user} (${error.message})`,
      "this takes CAP_SETUID, CAP_SETGID and CAP_SETPCAP, which a container may have taken away",
    );
  }
}
