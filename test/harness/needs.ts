// What tests need that a machine may lack. Such a test is skipped by `lacks("root", "strace")` and ends its name with
// "(needs root, strace)", so that the run counts it and its last lines say why (report.ts).

import { existsSync, readFileSync } from "node:fs";

const hasTool = (name: string) => (): boolean => Bun.which(name) !== null;

/** Name → whether this machine has it. */
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
  cc: hasTool("cc"),
  strace: hasTool("strace"),
  script: hasTool("script"),
  bash: hasTool("bash"),
  node: hasTool("node"),
  zsh: hasTool("zsh"),
  fish: hasTool("fish"),
  man: hasTool("man"),
  "dpkg-deb": hasTool("dpkg-deb"),
  lintian: hasTool("lintian"),
  "Debian's adduser and libcap2-bin": () => succeeds("dpkg", "--status", "adduser", "libcap2-bin"),
  "overlay mounts": () => succeeds("unshare", "--mount", "sh", "-c", OVERLAY),
  curl: hasTool("curl"),
  jq: hasTool("jq"),
  pgrep: hasTool("pgrep"),
  "systemd-analyze": hasTool("systemd-analyze"),
  "mount namespaces": () => succeeds("unshare", "--mount", "true"),
  "PID namespaces": () => succeeds("unshare", "--pid", "--fork", "true"),
  "user namespaces": () => succeeds(...SETPRIV, "unshare", "--user", "--map-current-user", "true"),
  CAP_SYS_RESOURCE: () => succeeds("prlimit", `--memlock=${2 ** 40}:${2 ** 40}`, "true"),
  /** From ptrace_scope 1 on, Yama lets only its ancestors trace a process, though its user is the same. */
  "ptrace_scope 0": () => !existsSync(YAMA) || readFileSync(YAMA, "utf8") === "0\n",
  /** With hidepid (proc(5)) an ordinary user does not see the program's process, which is not dumpable. */
  "/proc without hidepid": () =>
    !/^\S+ \/proc proc \S*hidepid=(?!0|off)/m.test(readFileSync("/proc/mounts", "utf8")),
  "the kernel's headers for x64": () => kernelHeader("x64") !== undefined,
  "the kernel's headers for arm64": () => kernelHeader("arm64") !== undefined,
};

function isOnDisk(path: string): boolean {
  const { stdout } = Bun.spawnSync(["stat", "--file-system", "--format=%T", path]);
  return !/^(tmpfs|ramfs)$/.test(stdout.toString().trim());
}

const OVERLAY =
  "mount -t tmpfs none /mnt && mkdir /mnt/up /mnt/work /mnt/root && mount -t overlay none -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work /mnt/root";

/** Runs as a uid that no user has. */
const SETPRIV = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"];

/** Whether a program for this processor with this loader starts here. */
function isMachine(cpu: string, loader: string): boolean {
  return process.arch === cpu && existsSync(loader);
}

const YAMA = "/proc/sys/kernel/yama/ptrace_scope";

/** Returns the header with the system call numbers (linux-libc-dev); undefined if it is not installed. */
export function kernelHeader(architecture: "x64" | "arm64"): string | undefined {
  const paths = {
    x64: ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
    arm64: ["/usr/include/asm-generic/unistd.h"],
  };
  return paths[architecture].find((path) => existsSync(path));
}

export type Need = keyof typeof HERE;

/** Whether this machine lacks one of these needs. */
export function lacks(...needs: Need[]): boolean {
  return needs.some((need) => !HERE[need]());
}

/** Returns those of a test's needs that this machine lacks; an unknown name counts as lacking. */
export function missingOf(needs: readonly string[]): string[] {
  return needs.filter((need) => !(need in HERE) || lacks(need as Need));
}

function succeeds(...command: string[]): boolean {
  return Bun.which(command[0]!) !== null && Bun.spawnSync(command).exitCode === 0;
}
