// Codex ignores OPENAI_BASE_URL. So `run` puts a directory first in PATH whose `codex` executes the real one with the proxy as its provider.

import { readOrEnd } from "../../../native/files/descriptors.ts";
import { Directory } from "../../../native/files/directory.ts";
import { changeMode, close, type FileStatus, O_RDONLY, open, writeAll } from "../../../native/files/files.ts";
import { isExecutable } from "../../../native/files/paths.ts";
import { randomHex } from "../../../native/process/memory.ts";
import { causeOf } from "../../base/errors.ts";
import { basename, dirname, resolve } from "../../base/paths.ts";
import { rootAndSelf, strangerAt } from "../../files/owners.ts";
import { baseUrlOf } from "./client-environment.ts";

const NAME = "codex";
const PREFIX = "responses-api-proxy-";

/** Codex's flags for the proxy as its provider; the token is in the environment. */
export function providerFlags(port: number): string[] {
  return flagsFor(baseUrlOf(port));
}

/** The same for a shell, which takes the URL from COMMAND's environment. */
export function shellFlags(): string {
  return flagsFor("$RESPONSES_API_PROXY_URL/v1")
    .map((word) => (word === "-c" ? word : `"${word}"`))
    .join(" ");
}

function flagsFor(baseUrl: string): string[] {
  const fields = [
    "name = 'OpenAI through responses-api-proxy'",
    `base_url = '${baseUrl}'`,
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

/** Creates the directory, which all users can read: COMMAND can become another one. Returns why it is of no use, if it is not. */
export function makeShim(directory: string): string | undefined {
  if (directory.includes(":")) return "a colon divides PATH";
  try {
    const parent = openParent(directory, refuseStranger);
    try {
      write(parent, basename(directory));
    } finally {
      parent.close();
    }
    // Not on a file system with noexec.
    return isExecutable(`${directory}/${NAME}`) ? undefined : "EACCES";
  } catch (error) {
    return error instanceof Stranger ? error.message : causeOf(error);
  }
}

/** The modes are given afterwards, so that the umask does not apply. */
function write(parent: Directory, name: string): void {
  parent.makeDirectory(name, 0o700);
  const fd = parent.create(`${name}/${NAME}`, 0o700);
  try {
    writeAll(fd, Buffer.from(SCRIPT));
    changeMode(fd, 0o755);
  } finally {
    close(fd);
  }
  parent.giveTo(name, 0o755, undefined);
}

/** Whether a file is such a shim, of this or of another run. `path` is bytes in latin1. */
export function isShim(path: string): boolean {
  try {
    const fd = open(path, O_RDONLY, "latin1");
    try {
      const start = Buffer.alloc(1024);
      const count = readOrEnd(fd, start);
      return start.toString("utf8", 0, count).startsWith(START);
    } finally {
      close(fd);
    }
  } catch {
    return false;
  }
}

/** Removes what `makeShim` created, and nothing else that may lie there. */
export function removeShim(directory: string): void {
  try {
    const parent = openParent(directory, () => {});
    const name = basename(directory);
    parent.removeIfThere(`${name}/${NAME}`);
    parent.removeIfThere(name, "directory");
    parent.close();
  } catch {
    // It is gone.
  }
}

class Stranger extends Error {}

function openParent(directory: string, check: Parameters<typeof Directory.open>[1]): Directory {
  return Directory.open(dirname(directory), check);
}

/** Who can replace the directory could have COMMAND execute anything. */
function refuseStranger(step: string, found: FileStatus): void {
  if (strangerAt(found, rootAndSelf()) !== undefined)
    throw new Stranger(`others may replace what is in ${step}`);
}

/** The second line of every shim, by which another one knows it: a run can be inside another. */
const MARK =
  "# From responses-api-proxy run: executes the next codex in PATH with the proxy as its provider.";

const START = `#!/bin/sh\n${MARK}\n`;

/** It looks for the real codex at each call, because scripts change PATH, and takes no shim for it, its own included. */
const SCRIPT = `${START}set -f
responses_api_proxy_path=$PATH:
IFS=:
for responses_api_proxy_codex in $responses_api_proxy_path; do
  unset IFS
  responses_api_proxy_codex=\${responses_api_proxy_codex:-.}/${NAME}
  [ -f "$responses_api_proxy_codex" ] && [ -x "$responses_api_proxy_codex" ] || continue
  responses_api_proxy_mark=
  { read -r responses_api_proxy_mark && read -r responses_api_proxy_mark; } <"$responses_api_proxy_codex" 2>/dev/null
  [ "$responses_api_proxy_mark" = ${quoted(MARK)} ] && continue
  exec "$responses_api_proxy_codex" ${shellFlags()} "$@"
done
echo "${NAME}: command not found" >&2
exit 127
`;

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
