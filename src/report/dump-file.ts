// Makes a JSON file of a dumped body: the body is embedded as it is if it is JSON, as text if it is UTF-8, else as base64.

import { SystemCallError } from "../../native/ffi/libc.ts";
import type { Directory } from "../../native/files/directory.ts";
import { close, readAt, writeAll } from "../../native/files/files.ts";
import { JsonScanner } from "./json-scanner.ts";

type Fields = { name: string; value: string }[];

/** What goes before the body. */
export type DumpedHead =
  { method: string; url: string; headers: Fields } | { status: number; headers: Fields };

/** A multiple of three, so that the base64 of the pieces is that of the whole. */
const PIECE_BYTES = 48 * 1024;

/** Makes `<name>.json` of `<name>.part`, in pieces; between them, other events have their turn. Rejects with SystemCallError. */
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
  const kind = await kindOf(part);
  writeAll(json, Buffer.from(BEFORE[kind]));
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for await (const piece of pieces(part)) {
    if (kind === "json") writeAll(json, piece);
    else {
      const text = kind === "text" ? decoder.decode(piece, { stream: true }) : piece.toString("base64");
      writeAll(json, Buffer.from(JSON.stringify(text).slice(1, -1)));
    }
  }
  writeAll(json, Buffer.from(AFTER[kind]));
}

type Kind = "json" | "text" | "bytes";
const BEFORE: Record<Kind, string> = { json: "", text: '"', bytes: '{\n    "base64": "' };
const AFTER: Record<Kind, string> = { json: "", text: '"', bytes: '"\n  }' };

/** JSON goes into the file as it came: numbers, escapes, order and blanks untouched, and no larger than it was. */
async function kindOf(part: number): Promise<Kind> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const scanner = new JsonScanner();
  let isJson = true;
  try {
    for await (const piece of pieces(part)) {
      decoder.decode(piece, { stream: true });
      isJson &&= scanner.push(piece);
    }
    decoder.decode();
    return isJson && scanner.end() ? "json" : "text";
  } catch (error) {
    if (error instanceof SystemCallError) throw error;
    return "bytes";
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
  // Room that is not moved, even for few bytes (native/ffi/c-data.ts).
  const space = Buffer.alloc(Math.max(bytes, 1024)).subarray(0, bytes);
  let length = 0;
  for (let count = -1; count !== 0 && length < bytes; length += count)
    count = readAt(part, space.subarray(length), offset + length);
  return space.subarray(0, length);
}
