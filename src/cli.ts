// The command line as citty sees it: each flag once, with the sentence that --help shows.

import type { ArgsDef } from "citty";

import { description, name, version } from "../package.json" with { type: "json" };

/** Every flag, with the sentence that --help shows. */
export const FLAGS = {
  port: { type: "string", valueHint: "PORT", description: "Port on 127.0.0.1 (default: 0, a free one)" },
  "server-info": {
    type: "string",
    valueHint: "FILE",
    description: 'Write {"port":N,"pid":N} there once connections are accepted',
  },
  "key-file": {
    type: "string",
    valueHint: "FILE",
    description: "Read the key from there and not from standard input",
  },
  "http-shutdown": { type: "boolean", description: "Let any client end the proxy with GET /shutdown" },
  "upstream-url": {
    type: "string",
    valueHint: "URL",
    description: "Where requests go (default: https://api.openai.com/v1/responses)",
  },
  "insecure-upstream": {
    type: "boolean",
    description: "Allow plain http to a host that is not loopback: the key travels unencrypted",
  },
  http2: {
    type: "boolean",
    description: "Speak HTTP/2 to an upstream that offers it; it may then get a request twice",
  },
  user: {
    type: "string",
    valueHint: "NAME|UID",
    description: "Started as root, run as this user and not as root",
  },
  strict: { type: "boolean", description: "Refuse to start where any protection does not hold" },
  "require-mlock": { type: "boolean", description: "Refuse to start where memory cannot be locked" },
  "shutdown-timeout": {
    type: "string",
    valueHint: "SECONDS",
    description: "How long exchanges in flight may take to end (default: 10)",
  },
  help: { type: "boolean", description: "Show this" },
  version: { type: "boolean", description: "Show the version" },
} as const satisfies ArgsDef;

/** The text of --help, without colours. */
export async function usage(): Promise<string> {
  // Here and not above: citty and what it imports are only for this text, and each start of the proxy starts the program twice.
  const { defineCommand, renderUsage } = await import("citty");
  const command = defineCommand({ meta: { name, version, description }, args: FLAGS });
  const text = Bun.stripANSI(await renderUsage(command)).trimEnd();
  const lines = text.split("\n").map((line) => line.trimEnd());
  return [
    ...lines,
    "",
    "The key is read from standard input:",
    "",
    "  printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy --server-info /tmp/server-info.json",
  ].join("\n");
}

/** The text of --version. */
export function versionLine(): string {
  return `${name} ${version} (Bun ${Bun.version})`;
}
