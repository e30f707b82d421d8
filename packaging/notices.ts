// THIRD-PARTY-NOTICES: whose code is compiled into the program, and under which licences. Made from the installed packages.

import { readFileSync, writeFileSync } from "node:fs";

import { dependencies, devDependencies } from "../package.json";

export const NOTICES = "THIRD-PARTY-NOTICES";

const read = (path: string): string => readFileSync(`node_modules/${path}`, "utf8");

/** Returns the text with its headings one level lower. */
const lower = (markdown: string): string => markdown.replace(/^#/gm, "##");

/** Returns the content of the file. */
export function notices(): string {
  const [, bun] = read("bun-types/docs/project/license.mdx").split(/\n---\n/);
  const bundled = read("citty/dist/THIRD-PARTY-LICENSES.md");
  const texts = [
    "# Third-party notices",
    "The compiled program contains the following, each under its own licence. The program's own is Apache-2.0 (LICENSE).",
    `## Bun ${devDependencies.bun}, the runtime (https://github.com/oven-sh/bun)`,
    lower(bun!.trim()),
    `## citty ${dependencies.citty} (https://github.com/unjs/citty)`,
    read("citty/LICENSE").trim(),
    lower(lower(bundled.trim())),
    `## consola ${dependencies.consola} (https://github.com/unjs/consola)`,
    read("consola/LICENSE").trim(),
  ];
  return `${texts.join("\n\n")}\n`;
}

if (import.meta.main) writeFileSync(NOTICES, notices());
