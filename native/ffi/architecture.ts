// Which processor the program was built for: the one place that asks, because system call numbers and some flags differ.
//
// TAKE CARE: the bundler replaces `process.arch` by a constant, that of the machine it runs on unless packaging/build.ts tells it the
// target's (Bun 1.4.5). So nothing else may ask for it, and test/packaging/targets.test.ts looks for BUILT_FOR in every file that is built.

export type Architecture = "x64" | "arm64";

export const ARCHITECTURE: Architecture = process.arch === "arm64" ? "arm64" : "x64";

/** Stands in the built file as one of these two texts; `--version` shows it. */
export const BUILT_FOR = process.arch === "arm64" ? "built for linux arm64" : "built for linux x64";
