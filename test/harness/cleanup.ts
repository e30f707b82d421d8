// What a test file started ends with it, and the tester's umask does not matter. Preloaded (bunfig.toml), so that it holds for every
// file of a run.

import { afterAll } from "bun:test";

// Tests make files and directories that other users are to reach; under a umask of 077 they could not.
process.umask(0o022);

// Each test file has modules of its own (Bun 1.4.5), the preloaded hook included; the global object they share.
type Cleanup = () => void | Promise<unknown>;
const shared = globalThis as { cleanups?: Cleanup[] };

/** Has `cleanup` called, and waited for, when the tests are over, the latest first. */
export function atEnd(cleanup: Cleanup): void {
  (shared.cleanups ??= []).push(cleanup);
}

afterAll(async () => {
  for (const cleanup of (shared.cleanups ?? []).splice(0).reverse()) await cleanup();
});
