// Absolute paths. Not node:path, which both starts would have to load (docs/bun.md).

import { UserError } from "./errors.ts";

/** What the runtime makes of bytes that are no UTF-8: another name. */
export const NO_TEXT = "\uFFFD";

/** The absolute path without `.`, `..`, repeated slashes and a slash at its end, as path.resolve() returns it. Throws UserError. */
export function resolve(path: string): string {
  const names: string[] = [];
  for (const name of (path.startsWith("/") ? path : `${workingDirectory()}/${path}`).split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

function workingDirectory(): string {
  const refuse = (why: string): UserError =>
    new UserError(`the working directory ${why}`, undefined, [
      "start it in another one, or give absolute paths",
    ]);
  let directory: string;
  try {
    directory = process.cwd();
  } catch {
    throw refuse("is gone");
  }
  if (directory.includes(NO_TEXT)) throw refuse("has a name that is no UTF-8");
  return directory;
}

/** The directory of a resolved path. */
export function dirname(resolved: string): string {
  return resolved.slice(0, Math.max(1, resolved.lastIndexOf("/")));
}

/** The last name of a resolved path. */
export function basename(resolved: string): string {
  return resolved.slice(resolved.lastIndexOf("/") + 1);
}
