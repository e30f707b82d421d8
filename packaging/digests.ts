// Writes the digests of what `npm run build:all` built to every place that has them: packaging/digests.json, the recipe in docs/github-actions.md,
// and the action. `npm run digests` builds and writes, after each change of the program.

import { readFileSync, writeFileSync } from "node:fs";

import { buildAction } from "./action/build.ts";
import { TARGETS } from "./targets.ts";

const DIGESTS = "packaging/digests.json";
export const GUIDE = "docs/github-actions.md";

/** What the recipe compares the program for linux-x64 with. */
export const RECIPE = /(?<=echo ")\w+(?=  package\/bin\/responses-api-proxy" \| sha256sum)/;

/** Returns the digest of each target's program by SHA256SUMS in a directory. */
export function digestsIn(directory: string): Record<string, string> {
  const sums = readFileSync(`${directory}/SHA256SUMS`, "utf8");
  return Object.fromEntries(
    TARGETS.map(({ name }) => [
      name,
      new RegExp(`^(\\w+)  responses-api-proxy-${name}$`, "m").exec(sums)![1]!,
    ]),
  );
}

if (import.meta.main) {
  const digests = digestsIn("dist");
  writeFileSync(DIGESTS, `${JSON.stringify(digests, undefined, 2)}\n`);
  writeFileSync(GUIDE, readFileSync(GUIDE, "utf8").replace(RECIPE, digests["linux-x64"]!));
  await buildAction();
}
