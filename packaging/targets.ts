// The programs of a release: one for each processor and libc.

export type Target = Readonly<{
  /** Ends the names of the file and of the npm package. */
  name: string;
  cpu: "x64" | "arm64";
  libc: "glibc" | "musl";
  /** The npm package with the runtime; bun.lock has its version and checksum. */
  runtime: string;
}>;

export const TARGETS: readonly Target[] = [
  { name: "linux-x64", cpu: "x64", libc: "glibc", runtime: "@oven/bun-linux-x64" },
  { name: "linux-x64-musl", cpu: "x64", libc: "musl", runtime: "@oven/bun-linux-x64-musl" },
  { name: "linux-arm64", cpu: "arm64", libc: "glibc", runtime: "@oven/bun-linux-aarch64" },
  { name: "linux-arm64-musl", cpu: "arm64", libc: "musl", runtime: "@oven/bun-linux-aarch64-musl" },
];
