// Strings, arrays and structs as C functions take them, in blocks whose address does not change.
//
// Bun moves the bytes of small typed arrays (docs/bun.md), so no block here is smaller than 1,024 bytes.

import { ptr } from "./libc.ts";

/** The engine moves the bytes of smaller arrays, and leaves the old ones (docs/bun.md). */
export const MIN_PINNED_BYTES = 1024;

/** How text becomes bytes: UTF-8, or latin1 for text that was bytes before. */
export type Encoding = "utf8" | "latin1";

/** Returns the text as a NUL-terminated string. */
export function cString(text: string, encoding: Encoding = "utf8"): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(`${text}\0`, encoding);
  return Buffer.concat([bytes], Math.max(bytes.byteLength, MIN_PINNED_BYTES));
}

/** Returns the bytes at an address that does not change: themselves, or a padded copy of a small array. */
export function pinned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength >= MIN_PINNED_BYTES ? bytes : Buffer.concat([bytes], MIN_PINNED_BYTES);
}

/**
 * Returns a NULL-terminated array of pointers to strings. The strings follow in the same block, so they
 * live as long as the array does.
 */
export function stringArray(texts: readonly string[], encoding: Encoding = "utf8"): Uint8Array<ArrayBuffer> {
  const strings = texts.map((text) => Buffer.from(`${text}\0`, encoding));
  const tableBytes = (strings.length + 1) * 8;
  const block = Buffer.alloc(Buffer.concat(strings).byteLength + tableBytes + MIN_PINNED_BYTES);
  let offset = tableBytes;
  for (const [index, string] of strings.entries()) {
    block.writeBigUInt64LE(BigInt(ptr(block) + offset), index * 8);
    offset += string.copy(block, offset);
  }
  return block;
}

/** Returns zeroed bytes for a struct of at most 1,024 bytes. */
export function struct(): Buffer<ArrayBuffer> {
  return Buffer.alloc(MIN_PINNED_BYTES);
}
