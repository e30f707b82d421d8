// What else lies in the directories that the proxy may write to: whoever takes it over may write there, too, and below (landlock(7) knows no single
// directory).

import { hasEntry } from "../../native/files/entries.ts";
import { basename, dirname } from "../base/paths.ts";
import type { Options } from "../input/options.ts";
import type { Protection } from "./protections.ts";

/** The name of a file that is being made, by a proxy that may have been killed. */
const TEMPORARY = /^\.[0-9a-f]{16}$/;
const DUMPED = /^\d+-\d+-(request|response)\.(json|json\.tmp|part)$/;

/** Looks into the directories of --server-info, --client-token, --socket and --dump-dir. Empty if all that is there is the proxy's. */
export function checkDirectories(options: Options): Protection[] {
  const { serverInfo, clientToken, socket, logFile, dumpDir } = options;
  const files = [serverInfo, clientToken, socket].filter((path) => path !== undefined);
  const own = new Set(
    [...files, logFile, dumpDir].map((path) => path && `${dirname(path)}/${basename(path)}`),
  );
  const shared = [
    ...new Set([...files.map((path) => dirname(path)), ...(dumpDir === undefined ? [] : [dumpDir])]),
  ].filter((directory) => hasOthers(directory, own, directory === dumpDir));
  if (shared.length === 0) return [];
  return [
    {
      id: "directories",
      gap: {
        message: `whoever takes the proxy over can write to what else lies in ${shared.map((directory) => `'${directory}'`).join(", ")}`,
        hints: [
          "give its files a directory of their own: --server-info DIRECTORY/server-info.json, and the others there",
        ],
      },
    },
  ];
}

/** Whether there is anything that is not the proxy's; also if it cannot be known. */
function hasOthers(directory: string, own: ReadonlySet<string | undefined>, hasDumps: boolean): boolean {
  try {
    return hasEntry(
      directory,
      (name) => !own.has(`${directory}/${name}`) && !TEMPORARY.test(name) && !(hasDumps && DUMPED.test(name)),
    );
  } catch {
    return true;
  }
}
