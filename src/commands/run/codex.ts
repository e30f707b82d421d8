// Codex ignores OPENAI_BASE_URL. So `run` puts a directory first in PATH whose `codex` executes the real one with the proxy as its provider.

import { chmodSync, mkdirSync, rmdirSync, unlinkSync, writeFileSync } from "node:fs";

import { Directory } from "../../../native/files/directory.ts";
import { randomHex } from "../../../native/process/memory.ts";
import { causeOf } from "../../base/errors.ts";
import { resolve } from "../../base/paths.ts";
import { rootAndSelf, strangerAt } from "../../files/owners.ts";
import { baseUrlOf } from "./client-environment.ts";

const NAME = "codex";
const PREFIX = "responses-api-proxy-";

/** Codex's flags for the proxy as its provider; the token is in the environment. */
export function providerFlags(port: number): string[] {
  const fields = [
    "name = 'OpenAI through responses-api-proxy'",
    `base_url = '${baseUrlOf(port)}'`,
    "wire_api = 'responses'",
    "env_key = 'RESPONSES_API_PROXY_TOKEN'",
  ];
  return [
    "-c",
    `model_providers.responses-api-proxy={ ${fields.join(", ")} }`,
    "-c",
    "model_provider=responses-api-proxy",
  ];
}

/** A path for the directory that no other process knows yet. Nothing is created. */
export function shimPath(temporary: string | undefined): string {
  return `${resolve(temporary || "/tmp")}/${PREFIX}${randomHex(8)}`;
}

/** Creates the directory, which all users can read: COMMAND can become another one. Returns the cause if it cannot be created. */
export function makeShim(directory: string, port: number): string | undefined {
  try {
    refuseStrangers(directory.slice(0, directory.lastIndexOf("/")));
    mkdirSync(directory, 0o700);
    writeFileSync(`${directory}/${NAME}`, scriptFor(directory, port), { flag: "wx" });
    // The umask does not apply here.
    chmodSync(`${directory}/${NAME}`, 0o755);
    chmodSync(directory, 0o755);
    return undefined;
  } catch (error) {
    return error instanceof Stranger ? error.message : causeOf(error);
  }
}

/** Removes what `makeShim` created, and nothing else that may lie there. */
export function removeShim(directory: string): void {
  for (const remove of [() => unlinkSync(`${directory}/${NAME}`), () => rmdirSync(directory)])
    try {
      remove();
    } catch {
      // It is gone, or something else is in it.
    }
}

class Stranger extends Error {}

/** Who can replace the directory could have COMMAND execute anything. */
function refuseStrangers(parent: string): void {
  Directory.open(parent, (step, found) => {
    if (strangerAt(found, rootAndSelf()) !== undefined)
      throw new Stranger(`others may replace what is in ${step}`);
  }).close();
}

/** It looks for the real codex at each call, because scripts change PATH; so no call of it leads back to itself. */
function scriptFor(directory: string, port: number): string {
  const flags = providerFlags(port).map(quoted).join(" ");
  return `#!/bin/sh
# From responses-api-proxy run: executes the next codex in PATH with the proxy as its provider.
set -f
IFS=:
for directory in $PATH; do
  codex="\${directory:-.}/codex"
  if [ "$directory" != ${quoted(directory)} ] && [ -f "$codex" ] && [ -x "$codex" ]; then
    unset IFS
    exec "$codex" ${flags} "$@"
  fi
done
echo "codex: command not found" >&2
exit 127
`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
