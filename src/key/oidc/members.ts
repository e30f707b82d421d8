// Where the members of a JSON object stand in its bytes (RFC 8259). Pure.
//
// JSON.parse would make strings of all of it, tokens included, which the engine frees when it does and wipes never. So an answer stays bytes,
// in pages that are wiped, and only what is no secret becomes a value.

/** The bytes of a member's value: from its first to after its last, quotes included. */
export type Span = Readonly<{ start: number; end: number }>;

const code = (character: string): number => character.charCodeAt(0);
const QUOTE = code('"');
const BACKSLASH = code("\\");
const BLANKS = [0x20, 0x09, 0x0a, 0x0d];
const OPENING = [code("{"), code("[")];
const CLOSING = [code("}"), code("]")];

/**
 * The members of the object that the bytes are, by name; undefined if they are no object, or if a name stands there twice: which of the two
 * counts is nowhere laid down. What is inside of a value is not checked, but its end is found. A name is taken as it is written, so one with an
 * escape in it is another name.
 */
export function membersOf(bytes: Uint8Array): Map<string, Span> | undefined {
  const members = new Map<string, Span>();
  let at = afterBlanks(bytes, 0);
  if (bytes[at] !== code("{")) return undefined;
  at = afterBlanks(bytes, at + 1);
  while (bytes[at] !== code("}")) {
    if (members.size > 0) {
      if (bytes[at] !== code(",")) return undefined;
      at = afterBlanks(bytes, at + 1);
    }
    const name = { start: at, end: afterString(bytes, at) };
    at = afterBlanks(bytes, name.end);
    if (bytes[at] !== code(":")) return undefined;
    const start = afterBlanks(bytes, at + 1);
    const end = afterValue(bytes, start);
    const key = textAt(bytes, name).slice(1, -1);
    if (end === start || members.has(key)) return undefined;
    members.set(key, { start, end });
    at = afterBlanks(bytes, end);
  }
  return afterBlanks(bytes, at + 1) === bytes.length ? members : undefined;
}

/** The text of a span. TAKE CARE: a string in the engine's heap, so of no secret. */
export function textAt(bytes: Uint8Array, { start, end }: Span): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

/** What is between the quotes; undefined if the value is no string. */
export function insideQuotes(bytes: Uint8Array, { start, end }: Span): Span | undefined {
  return bytes[start] === QUOTE ? { start: start + 1, end: end - 1 } : undefined;
}

function afterBlanks(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && BLANKS.includes(bytes[at]!)) at++;
  return at;
}

/** After a string's closing quote; `from` if there is no whole string. */
function afterString(bytes: Uint8Array, from: number): number {
  if (bytes[from] !== QUOTE) return from;
  for (let at = from + 1; at < bytes.length; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === QUOTE) return at + 1;
  }
  return from;
}

/** After a value: a string, an object or array with all that is in it, or a word. `from` if there is no whole value. */
function afterValue(bytes: Uint8Array, from: number): number {
  let depth = 0;
  for (let at = from; at < bytes.length;) {
    const byte = bytes[at]!;
    if (CLOSING.includes(byte) && --depth < 0) return at;
    if (depth === 0 && (byte === code(",") || BLANKS.includes(byte))) return at;
    if (OPENING.includes(byte)) depth++;
    const end = afterString(bytes, at);
    if (byte === QUOTE && end === at) return from;
    at = Math.max(end, at + 1);
    if (depth === 0 && (byte === QUOTE || CLOSING.includes(byte))) return at;
  }
  return from;
}
