// A dumped body, which is on disk, becomes a JSON file: parsed where it parses, as text where it is UTF-8, else as base64.

import type { Directory } from "../native/directory.ts";
import { close, readAt, statusOf, writeAll } from "../native/files.ts";

type Fields = { name: string; value: string }[];

/** What stands before the body. */
export type DumpedHead =
  { method: string; url: string; headers: Fields } | { status: number; headers: Fields };

/** Larger bodies are kept as text: parsing takes the event loop for 10 ms a megabyte, and streams must not wait. */
const MAX_PARSED_BYTES = 1024 * 1024;
/** A multiple of three, so that the base64 of the pieces is that of the whole. */
const PIECE_BYTES = 48 * 1024;

/** Makes `<name>.json` of `<name>.part`, in pieces, between which others have their turn. Rejects with SystemCallError. */
export async function finishDump(directory: Directory, name: string, head: DumpedHead): Promise<void> {
  const temporary = `${name}.json.tmp`;
  let part: number | undefined;
  let json: number | undefined;
  try {
    part = directory.read(`${name}.part`);
    json = directory.create(temporary, 0o600);
    const opening = JSON.stringify(head, undefined, 2).replace(/\n\}$/, ',\n  "body": ');
    writeAll(json, Buffer.from(opening));
    await writeBody(part, json);
    writeAll(json, Buffer.from("\n}\n"));
    directory.rename(temporary, `${name}.json`);
  } catch (error) {
    directory.removeIfThere(temporary);
    throw error;
  } finally {
    if (part !== undefined) close(part);
    if (json !== undefined) close(json);
    directory.removeIfThere(`${name}.part`);
  }
}

async function writeBody(part: number, json: number): Promise<void> {
  const parsing = textThatParses(part);
  if (parsing !== undefined) {
    writeAll(json, Buffer.from(indent(parsing)));
    return;
  }
  const isText = await isUtf8(part);
  writeAll(json, Buffer.from(isText ? '"' : '{\n    "base64": "'));
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for await (const piece of pieces(part)) {
    const text = isText ? decoder.decode(piece, { stream: true }) : piece.toString("base64");
    writeAll(json, Buffer.from(JSON.stringify(text).slice(1, -1)));
  }
  writeAll(json, Buffer.from(isText ? '"' : '"\n  }'));
}

/** The body, if it is JSON; an empty text if there is none. */
function textThatParses(part: number): string | undefined {
  const { size } = statusOf(part);
  if (size === 0) return '""';
  if (size > MAX_PARSED_BYTES) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(readPiece(part, 0, size));
    JSON.parse(text);
    return text;
  } catch {
    return undefined;
  }
}

/**
 * The same JSON, a value on a line, as JSON.stringify indents it; but numbers, repeated names and all else stay as they were sent, and
 * what lies deeper than MAX_INDENTED stays on its line, so that no body grows without measure.
 */
function indent(json: string): string {
  let depth = 1;
  const line = (): string => (depth > MAX_INDENTED ? "" : `\n${"  ".repeat(depth)}`);
  return json.replace(TOKEN, (token) => {
    const first = token[0]!;
    if (first === '"') return token;
    if (token.length > 1 && (first === "{" || first === "[")) return first === "{" ? "{}" : "[]";
    if (first === "{" || first === "[") {
      depth++;
      return `${token}${line()}`;
    }
    if (first === "}" || first === "]") {
      const end = depth > MAX_INDENTED;
      depth--;
      return end ? token : `${line()}${token}`;
    }
    if (first === ",") return `${token}${line()}`;
    return first === ":" ? ": " : "";
  });
}

const MAX_INDENTED = 12;
/** A string, an empty object or array, a mark, or blanks; numbers and literals are what stands between. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|\{\s*\}|\[\s*\]|[{}[\],:]|\s+/g;

async function isUtf8(part: number): Promise<boolean> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const piece of pieces(part)) decoder.decode(piece, { stream: true });
    decoder.decode();
    return true;
  } catch {
    return false;
  }
}

async function* pieces(part: number): AsyncGenerator<Buffer> {
  for (let offset = 0; ;) {
    const piece = readPiece(part, offset, PIECE_BYTES);
    if (piece.length > 0) yield piece;
    if (piece.length < PIECE_BYTES) return;
    offset += piece.length;
    await new Promise(setImmediate);
  }
}

/** So many bytes from an offset on, or what there is of them. */
function readPiece(part: number, offset: number, bytes: number): Buffer {
  // Room that is not moved, even for few bytes (native/c-data.ts).
  const space = Buffer.alloc(Math.max(bytes, 1024)).subarray(0, bytes);
  let length = 0;
  for (let count = -1; count !== 0 && length < bytes; length += count)
    count = readAt(part, space.subarray(length), offset + length);
  return space.subarray(0, length);
}
