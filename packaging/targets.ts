// What is built, and what it is called: one program per processor and libc.

/** One program of the release. */
export type Target = Readonly<{
  /** In file names, and behind the package's name on npm. */
  name: string;
  cpu: "x64" | "arm64";
  libc: "glibc" | "musl";
  /** The package on npm that the runtime comes from; its version and checksum stand in bun.lock. */
  runtime: string;
}>;

export const TARGETS: readonly Target[] = [
  { name: "linux-x64", cpu: "x64", libc: "glibc", runtime: "@oven/bun-linux-x64" },
  { name: "linux-x64-musl", cpu: "x64", libc: "musl", runtime: "@oven/bun-linux-x64-musl" },
  { name: "linux-arm64", cpu: "arm64", libc: "glibc", runtime: "@oven/bun-linux-aarch64" },
  { name: "linux-arm64-musl", cpu: "arm64", libc: "musl", runtime: "@oven/bun-linux-aarch64-musl" },
];
