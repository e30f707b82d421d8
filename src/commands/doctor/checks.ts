// What `doctor` finds: one check, its verdict, and what to do about it.

export type Status = "ok" | "warning" | "fatal";

/** Stable names, which --json shows, in the order of the lines; with the heading they stand under and their own label. */
export const CHECKS = {
  user: ["User", "user"],
  "become-root": ["User", "way to root"],
  capabilities: ["User", "capabilities"],
  "user-namespace": ["User", "namespace"],
  "file-executable": ["Program's file", "executable"],
  "file-readable": ["Program's file", "readable"],
  "file-writable": ["Program's file", "writable"],
  "file-owner": ["Program's file", "owners"],
  kernel: ["Kernel", "version"],
  landlock: ["Kernel", "landlock"],
  seccomp: ["Kernel", "seccomp"],
  mdwe: ["Kernel", "mdwe"],
  "memfd-noexec": ["Kernel", "memfd_noexec"],
  yama: ["Kernel", "yama"],
  tracer: ["Kernel", "tracer"],
  "memory-lock": ["Memory", "locked"],
  "key-pages": ["Memory", "key's pages"],
  swap: ["Memory", "swap"],
  "core-pattern": ["Memory", "core dumps"],
  descriptors: ["Host", "descriptors"],
  "null-device": ["Host", "null device"],
  loopback: ["Host", "loopback"],
  proxy: ["Environment", "proxy"],
  authorities: ["Environment", "authorities"],
  dns: ["Upstream", "dns"],
  tcp: ["Upstream", "tcp"],
  tunnel: ["Upstream", "tunnel"],
  tls: ["Upstream", "tls"],
  http: ["Upstream", "http"],
  clock: ["Upstream", "clock"],
} as const satisfies Record<string, readonly [heading: string, label: string]>;

export type CheckId = keyof typeof CHECKS;

export type Check = Readonly<{
  id: CheckId;
  status: Status;
  found: string;
  /** What to do about it; undefined where there is nothing to do. */
  advice?: string;
  /** Whether the proxy would refuse to start for this with --strict. */
  strict?: boolean;
}>;

export function ok(id: CheckId, found: string): Check {
  return { id, status: "ok", found };
}

/** The proxy would start, and something is not as it could be. */
export function warning(id: CheckId, found: string, advice: string): Check {
  return { id, status: "warning", found, advice };
}

/** The same, and with --strict it would not start. */
export function strictly(id: CheckId, found: string, advice: string): Check {
  return { id, status: "warning", found, advice, strict: true };
}

/** The proxy would not start; or, under the heading Upstream, would reach nobody. */
export function fatal(id: CheckId, found: string, advice: string): Check {
  return { id, status: "fatal", found, advice };
}

/** What follows from all of them: whether the proxy would start, so and with --strict, and whether it would reach its upstream. */
export function conclude(checks: readonly Check[]): {
  starts: boolean;
  startsStrictly: boolean;
  reachesUpstream: boolean;
} {
  const failed = checks.filter(({ status }) => status === "fatal");
  const isOfUpstream = ({ id }: Check): boolean => CHECKS[id][0] === "Upstream";
  const starts = failed.every(isOfUpstream);
  return {
    starts,
    startsStrictly: starts && !checks.some(({ strict }) => strict),
    reachesUpstream: !failed.some(isOfUpstream),
  };
}
