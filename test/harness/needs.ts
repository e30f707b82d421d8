// What a test needs and this machine may not have. Such a test says so at the end of its name, "(needs root, strace)", and is skipped
// by `lacks("root", "strace")`: so the run counts it, and its last lines can say why (report.ts).

import { existsSync, readFileSync } from "node:fs";

const hasTool = (name: string) => (): boolean => Bun.which(name) !== null;

/** Name → whether it is here. */
const HERE = {
  root: () => process.getuid!() === 0,
  chromium: hasTool("chromium"),
  "linux-x64": () => isMachine("x64", "/lib64/ld-linux-x86-64.so.2"),
  "linux-x64-musl": () => isMachine("x64", "/lib/ld-musl-x86_64.so.1") && !HERE["linux-x64"](),
  "linux-arm64": () => isMachine("arm64", "/lib/ld-linux-aarch64.so.1"),
  "linux-arm64-musl": () => isMachine("arm64", "/lib/ld-musl-aarch64.so.1") && !HERE["linux-arm64"](),
  setcap: hasTool("setcap"),
  flock: hasTool("flock"),
  ip: hasTool("ip"),
  "temporary files on a disk": () => isOnDisk("/tmp") && isOnDisk("/var/tmp"),
  strace: hasTool("strace"),
  script: hasTool("script"),
  bash: hasTool("bash"),
  curl: hasTool("curl"),
  jq: hasTool("jq"),
  "systemd-analyze": hasTool("systemd-analyze"),
  "mount namespaces": () => succeeds("unshare", "--mount", "true"),
  "user namespaces": () => succeeds(...SETPRIV, "unshare", "--user", "--map-current-user", "true"),
  CAP_SYS_RESOURCE: () => succeeds("prlimit", `--memlock=${2 ** 40}:${2 ** 40}`, "true"),
  /** Yama (ptrace_scope 1 and above) closes a process of one's own to all but its parents. */
  "ptrace_scope 0": () => !existsSync(YAMA) || readFileSync(YAMA, "utf8") === "0\n",
  /** With hidepid (proc(5)) an ordinary user does not see the program's process, which is closed to that user. */
  "/proc without hidepid": () =>
    !/^\S+ \/proc proc \S*hidepid=(?!0|off)/m.test(readFileSync("/proc/mounts", "utf8")),
  "the kernel's headers for x64": () => kernelHeader("x64") !== undefined,
  "the kernel's headers for arm64": () => kernelHeader("arm64") !== undefined,
};

function isOnDisk(path: string): boolean {
  const { stdout } = Bun.spawnSync(["stat", "--file-system", "--format=%T", path]);
  return !/^(tmpfs|ramfs)$/.test(stdout.toString().trim());
}

/** As a user that nobody is. */
const SETPRIV = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"];

/** Whether a program for that processor starts here, whose header names this loader. */
function isMachine(cpu: string, loader: string): boolean {
  return process.arch === cpu && existsSync(loader);
}

const YAMA = "/proc/sys/kernel/yama/ptrace_scope";

/** The header that numbers the system calls (linux-libc-dev), undefined if it is not installed. */
export function kernelHeader(architecture: "x64" | "arm64"): string | undefined {
  const paths = {
    x64: ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
    arm64: ["/usr/include/asm-generic/unistd.h"],
  };
  return paths[architecture].find((path) => existsSync(path));
}

export type Need = keyof typeof HERE;

/** Whether one of them is missing here. */
export function lacks(...needs: Need[]): boolean {
  return needs.some((need) => !HERE[need]());
}

/** Of the needs that a test names, those that are missing here; a name that nobody knows counts as missing. */
export function missingOf(needs: readonly string[]): string[] {
  return needs.filter((need) => !(need in HERE) || lacks(need as Need));
}

function succeeds(...command: string[]): boolean {
  return Bun.which(command[0]!) !== null && Bun.spawnSync(command).exitCode === 0;
}
