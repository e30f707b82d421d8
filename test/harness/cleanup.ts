// Cleans up after each test file, and sets the umask. Preloaded (bunfig.toml), so it applies to every file of a run.

import { afterAll } from "bun:test";

// Tests make files and directories for other users, who could not reach them under a umask of 077.
process.umask(0o022);

// Bun 1.4.5: each test file and this hook have their own modules, but share the global object.
type Cleanup = () => void | Promise<unknown>;
const shared = globalThis as { cleanups?: Cleanup[] };

/** Calls `cleanup` when the tests of this file are over, and waits for it; the last one registered comes first. */
export function atEnd(cleanup: Cleanup): void {
  (shared.cleanups ??= []).push(cleanup);
}

afterAll(async () => {
  for (const cleanup of (shared.cleanups ?? []).splice(0).reverse()) await cleanup();
});
