// Whether bytes that come piece by piece are one JSON text (RFC 8259), without building a value: JSON.parse cannot be interrupted, and can take
// long (docs/bun.md). Pure. The caller checks that the bytes are UTF-8.

/** Deeper nesting is taken for no JSON: each level takes a byte here. */
const MAX_DEPTH = 10_000;

/** What may come next. */
type Expecting =
  | "value"
  | "value or ]"
  | "name or }"
  | "name"
  | "colon"
  | "comma or end"
  | "string"
  | "escape"
  | "hexadecimal"
  | "literal"
  | "number"
  | "end"
  | "nothing";

const OBJECT = 1;
const ARRAY = 2;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LITERALS: Record<number, string> = { 0x74: "true", 0x66: "false", 0x6e: "null" };
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
/** Longer ones are taken for no JSON. */
const MAX_NUMBER_LENGTH = 10_000;

const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isNumeric = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) ||
  byte === 0x2b ||
  byte === 0x2d ||
  byte === 0x2e ||
  byte === 0x45 ||
  byte === 0x65;
const isHexadecimal = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);

export class JsonScanner {
  #expecting: Expecting = "value";
  /** Whether the string that is read is a member's name. */
  #isName = false;
  readonly #containers: number[] = [];
  /** Of a number, what came; of a literal, what must come. */
  #token = "";
  #hexadecimals = 0;

  /** Takes the next bytes; false once they cannot be JSON any more. */
  push(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (this.#expecting === "string" && byte !== QUOTE && byte !== BACKSLASH && byte >= 0x20) continue;
      this.#take(byte);
    }
    return this.#expecting !== "nothing";
  }

  /** Whether what came is whole. */
  end(): boolean {
    if (this.#expecting === "number" && this.#containers.length === 0) this.#endNumber();
    return this.#expecting === "end";
  }

  #take(byte: number): void {
    switch (this.#expecting) {
      case "string":
        if (byte === QUOTE) this.#expecting = this.#isName ? "colon" : this.#afterValue();
        else this.#expecting = byte === BACKSLASH ? "escape" : "nothing";
        return;
      case "escape":
        this.#hexadecimals = 4;
        if (byte === 0x75) this.#expecting = "hexadecimal";
        else this.#expecting = '"\\/bfnrt'.includes(String.fromCharCode(byte)) ? "string" : "nothing";
        return;
      case "hexadecimal":
        if (!isHexadecimal(byte)) this.#expecting = "nothing";
        else if (--this.#hexadecimals === 0) this.#expecting = "string";
        return;
      case "literal":
        if (byte !== this.#token.charCodeAt(0)) this.#expecting = "nothing";
        else if ((this.#token = this.#token.slice(1)) === "") this.#expecting = this.#afterValue();
        return;
      case "number":
        if (isNumeric(byte) && this.#token.length < MAX_NUMBER_LENGTH) {
          this.#token += String.fromCharCode(byte);
          return;
        }
        // What ends a number is the beginning of something else.
        if (this.#endNumber()) this.#take(byte);
        return;
      default:
        if (!isBlank(byte)) this.#expecting = this.#begin(byte, this.#expecting);
    }
  }

  /** What may come after a byte between tokens. */
  #begin(byte: number, expecting: Expecting): Expecting {
    const inside = this.#containers.at(-1);
    if (expecting === "name" || expecting === "name or }") {
      if (byte === QUOTE) {
        this.#isName = true;
        return "string";
      }
      return byte === 0x7d && expecting === "name or }" ? this.#close() : "nothing";
    }
    if (expecting === "colon") return byte === 0x3a ? "value" : "nothing";
    if (expecting === "comma or end") {
      if (byte === 0x2c) return inside === OBJECT ? "name" : "value";
      return byte === (inside === OBJECT ? 0x7d : 0x5d) ? this.#close() : "nothing";
    }
    if (expecting !== "value" && expecting !== "value or ]") return "nothing";
    if (byte === 0x5d && expecting === "value or ]") return this.#close();
    return this.#beginValue(byte);
  }

  #beginValue(byte: number): Expecting {
    if (byte === QUOTE) {
      this.#isName = false;
      return "string";
    }
    if (byte === 0x7b || byte === 0x5b) {
      if (this.#containers.push(byte === 0x7b ? OBJECT : ARRAY) > MAX_DEPTH) return "nothing";
      return byte === 0x7b ? "name or }" : "value or ]";
    }
    const literal = LITERALS[byte];
    if (literal !== undefined) {
      this.#token = literal.slice(1);
      return "literal";
    }
    if (!isNumeric(byte)) return "nothing";
    this.#token = String.fromCharCode(byte);
    return "number";
  }

  #endNumber(): boolean {
    const isNumber = NUMBER.test(this.#token);
    this.#expecting = isNumber ? this.#afterValue() : "nothing";
    return isNumber;
  }

  #close(): Expecting {
    this.#containers.pop();
    return this.#afterValue();
  }

  #afterValue(): Expecting {
    return this.#containers.length === 0 ? "end" : "comma or end";
  }
}
