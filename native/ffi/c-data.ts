// Data as C functions take it, in blocks that stay where they are.
//
// Bun 1.4.5 moves the bytes of typed arrays of 1,000 bytes or less, so everything whose address is taken is larger.

import { ptr } from "./libc.ts";

const UNMOVED_BYTES = 1024;

/** A NUL-ended string. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(`${text}\0`);
  return Buffer.concat([bytes], Math.max(bytes.byteLength, UNMOVED_BYTES));
}

/** The bytes where they stay: themselves, or a copy with room behind it. */
export function unmoved(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength >= UNMOVED_BYTES ? bytes : Buffer.concat([bytes], UNMOVED_BYTES);
}

/** A NULL-ended array of pointers to strings, with the strings behind it in the same block, which keeps them alive. */
export function stringArray(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const strings = texts.map((text) => Buffer.from(`${text}\0`));
  const tableBytes = (strings.length + 1) * 8;
  const block = Buffer.alloc(Buffer.concat(strings).byteLength + tableBytes + UNMOVED_BYTES);
  let offset = tableBytes;
  for (const [index, string] of strings.entries()) {
    block.writeBigUInt64LE(BigInt(ptr(block) + offset), index * 8);
    offset += string.copy(block, offset);
  }
  return block;
}

/** Zeroed bytes for a struct of at most 1,024 bytes. */
export function struct(): Buffer<ArrayBuffer> {
  return Buffer.alloc(UNMOVED_BYTES);
}
