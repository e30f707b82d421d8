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
  const part = directory.read(`${name}.part`);
  const json = directory.create(`${name}.json.tmp`, 0o600);
  try {
    const opening = JSON.stringify(head, undefined, 2).replace(/\n\}$/, ',\n  "body": ');
    writeAll(json, Buffer.from(opening));
    await writeBody(part, json);
    writeAll(json, Buffer.from("\n}\n"));
    directory.rename(`${name}.json.tmp`, `${name}.json`);
  } catch (error) {
    directory.removeIfThere(`${name}.json.tmp`);
    throw error;
  } finally {
    close(part);
    close(json);
    directory.removeIfThere(`${name}.part`);
  }
}

async function writeBody(part: number, json: number): Promise<void> {
  const parsed = parse(part);
  if (parsed !== undefined) {
    writeAll(json, Buffer.from(JSON.stringify(parsed, undefined, 2).replaceAll("\n", "\n  ")));
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

/** The body as JSON, if it is; as the text "" if there is none. */
function parse(part: number): unknown {
  const { size } = statusOf(part);
  if (size === 0) return "";
  if (size > MAX_PARSED_BYTES) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(readPiece(part, 0, size)));
  } catch {
    return undefined;
  }
}

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
    if (piece.length === 0) return;
    yield piece;
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
