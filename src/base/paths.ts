// Absolute paths. Not node:path, which both starts would have to load (docs/bun.md).

/** The absolute path without `.`, `..`, repeated slashes and a slash at its end, as path.resolve() returns it. */
export function resolve(path: string): string {
  const names: string[] = [];
  for (const name of (path.startsWith("/") ? path : `${process.cwd()}/${path}`).split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

/** The directory of a resolved path. */
export function dirname(resolved: string): string {
  return resolved.slice(0, Math.max(1, resolved.lastIndexOf("/")));
}

/** The last name of a resolved path. */
export function basename(resolved: string): string {
  return resolved.slice(resolved.lastIndexOf("/") + 1);
}
