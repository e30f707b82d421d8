// The files that tests execute, and where they lie: the compiled program, copies of it, and directories that every user can read.

import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

import { atEnd } from "./cleanup.ts";

/** The file that `npm run build` makes; `verify` builds before it tests. */
export const BINARY = resolve(import.meta.dir, "../../dist/responses-api-proxy");
if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: npm run build`);

/** Makes a directory that every user can read; it is removed after the test file. */
export function temporaryDirectory(parent = "/tmp"): string {
  const directory = mkdtempSync(`${parent}/responses-api-proxy-test-`);
  chmodSync(directory, 0o755);
  atEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Returns the path of a copy of the binary that other users can reach, with this mode. For tests that change the file. */
export function installedBinary(mode: number): string {
  const path = join(temporaryDirectory(), "responses-api-proxy");
  copyFileSync(BINARY, path);
  chmodSync(path, mode);
  return path;
}

/** Returns another name of the shared copy with this mode, in a directory that the test may change. */
export function linkedBinary(mode: number): string {
  const path = join(temporaryDirectory(), "responses-api-proxy");
  linkSync(sharedCopy(BINARY, mode), path);
  return path;
}

let own: string | undefined;

/**
 * Returns the path of a copy of `file` that every user can reach, with this mode. One for the whole run, which tests leave alone: a copy
 * writes 110 MB. `run.ts` makes the directory; a test file that runs without it has its own.
 */
export function sharedCopy(file: string, mode: number): string {
  const directory = process.env["TEST_COPIES"] ?? (own ??= temporaryDirectory());
  // The program's messages name the file, so that has the usual name.
  const home = join(directory, mode.toString(8));
  const path = join(home, file === BINARY ? "responses-api-proxy" : "bun");
  if (existsSync(path)) return path;
  mkdirSync(home, { recursive: true });
  const made = join(home, `of-${process.pid}`);
  copyFileSync(file, made);
  chmodSync(made, mode);
  try {
    // Not renameSync, which would take away the copy that another test file made meanwhile, and runs.
    linkSync(made, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(made);
  }
  return path;
}
