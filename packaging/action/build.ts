// Builds the actions' files, which are committed: a runner executes what is in the repository at the commit that a workflow names.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Source → the file that its action.yml names, beside that. */
export const FILES = { "main.ts": "action/start.mjs", "stop.ts": "action/stop.mjs" } as const;

/** Returns the text of a built file. The same source gives the same bytes. `plugins` are for tests. */
export async function bundleOf(source: keyof typeof FILES, plugins: Bun.BunPlugin[] = []): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [join(import.meta.dir, source)],
    target: "node",
    format: "esm",
    plugins,
    banner: `/* oxlint-disable */\n// Built from packaging/action/${source}: change that, and \`npm run action\`.`,
  });
  return format(await outputs[0]!.text());
}

/** For whoever reads it, and for the gate, which formats all files. */
function format(text: string): string {
  const { stdout } = Bun.spawnSync([process.execPath, "fmt", "--stdin-filepath=built.mjs"], {
    stdin: Buffer.from(text),
  });
  return stdout.toString();
}

/** Writes the built files. */
export async function buildAction(): Promise<void> {
  for (const [source, file] of Object.entries(FILES))
    writeFileSync(file, await bundleOf(source as keyof typeof FILES));
}

if (import.meta.main) await buildAction();
