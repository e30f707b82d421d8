// The processor that the program was built for. System call numbers and some flags depend on it.
//
// TAKE CARE: Bun's bundler replaces `process.arch` by a constant: the architecture of the build machine,
// unless packaging/build.ts defines the target's. So no other file may use it, and
// test/packaging/targets.test.ts looks for BUILT_FOR in every built program.

export type Architecture = "x64" | "arm64";

export const ARCHITECTURE: Architecture = process.arch === "arm64" ? "arm64" : "x64";

/** The built program contains exactly one of these two texts; `--version` shows it. */
export const BUILT_FOR = process.arch === "arm64" ? "built for linux arm64" : "built for linux x64";
