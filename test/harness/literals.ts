// Finds the string and template literals of a TypeScript source, each with where it stands. A scanner and no parser: it knows comments, regular
// expressions, nested templates and brackets, which is enough for this project's own code (test/project/operations.test.ts).

/** A bracket that is open around a literal. */
type Frame = {
  bracket: string;
  /** What is called, for a parenthesis: `terminal.warning`, or `UserError` for `new UserError`. */
  callee: string;
  /** How many commas came before, in this bracket. */
  place: number;
  /** The property, the constant or the function whose value is being read. */
  label: string;
};

export type Literal = {
  /** With `…` in place of each `${}`; ellipses side by side are one. */
  text: string;
  line: number;
  /** From the outermost bracket to the innermost one. */
  frames: readonly Readonly<Frame>[];
};

const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };
const COMMENT = /\/\/.*|\/\*[^]*?\*\//y;
const WORD = /[\w$#]+/y;
const REGEXP = /\/(?:[^\\/[\n]|\\.|\[(?:[^\\\]\n]|\\.)*\])+\/\w*/y;
const COLON = /\s*\??:/y;
/** After these a slash begins a regular expression. */
const BEFORE_REGEXP = /(^|[([{,;:=!&|?+\-*%~^<>]|=>|\b(?:return|case|typeof|in|of))$/;

/** The comma of `Record<string, string>` divides nothing here. */
const INSIDE_TYPE = /<[\w.[\]| ]*$/;

/** Ellipses side by side are one; blanks of a source's line breaks count as one. */
export const normalised = (text: string): string => text.replace(/…+/g, "…").replace(/\s+/g, " ").trim();

/** Every literal of a source, in order; those inside a template's `${}` come before it. Throws Error if the scanner has lost its way. */
export function literalsOf(source: string): Literal[] {
  const found: Literal[] = [];
  const frames: Frame[] = [{ bracket: "", callee: "", place: 0, label: "" }];
  /** The code before, without blanks and comments, with "" for a literal. */
  let before = "";
  let at = 0;

  const note = (text: string, start: number): void => {
    const line = source.slice(0, start).split("\n").length;
    found.push({ text: normalised(text), line, frames: frames.map((frame) => ({ ...frame })) });
  };
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0];
  };
  /** A character of a literal. No text of the project has a code in place of a character (\u0041). */
  const readCharacter = (start: number): string => {
    const isEscape = source[at] === "\\";
    const character = source[isEscape ? at + 1 : at];
    if (character === undefined || (character === "\n" && source[start] !== "`"))
      throw new Error(`a literal that does not end: ${source.slice(start, start + 40)}`);
    at += isEscape ? 2 : 1;
    return isEscape && "nrt".includes(character) ? " " : character;
  };
  const readString = (quote: string): void => {
    const start = at++;
    let text = "";
    while (source[at] !== quote) text += readCharacter(start);
    at++;
    before += '""';
    note(text, start);
  };
  const readTemplate = (): void => {
    const start = at++;
    let text = "";
    while (source[at] !== "`") {
      if (source.startsWith("${", at)) {
        at += 2;
        text += "…";
        readCode("}");
        at++;
      } else text += readCharacter(start);
    }
    at++;
    before += '""';
    note(text, start);
  };
  const open = (bracket: string): void => {
    const callee = /([\w.#!?]+)(?:<[^<>]*>)?$/.exec(before)?.[1] ?? "";
    at++;
    before += bracket;
    frames.push({ bracket, callee: bracket === "(" ? callee : "", place: 0, label: "" });
    readCode(CLOSING[bracket]!);
    frames.pop();
    before += source[at++];
  };
  /** Reads on to this closing bracket, which is not read; to the end if there is none. */
  const readCode = (closing: string): void => {
    while (at < source.length && source[at] !== closing) {
      const character = source[at]!;
      const frame = frames.at(-1)!;
      const comment = take(COMMENT);
      const word = take(WORD);
      if (comment !== undefined) at += comment.length;
      else if (character === '"' || character === "'") readString(character);
      else if (character === "`") readTemplate();
      else if (character in CLOSING) open(character);
      else if (character === "/" && BEFORE_REGEXP.test(before)) {
        at += take(REGEXP)!.length;
        before += '""';
      } else if (word !== undefined) {
        at += word.length;
        if (take(COLON) !== undefined || /(^|\W)(const|let|function)$/.test(before)) frame.label = word;
        // A blank keeps two words apart.
        before += (/\w$/.test(before) ? " " : "") + word;
      } else {
        const isComma = character === "," && !INSIDE_TYPE.test(before);
        if (isComma) frame.place++;
        if (character === ";" || (isComma && frame.bracket !== "(")) frame.label = "";
        if (/\S/.test(character)) before += character;
        at++;
      }
    }
  };
  readCode("");
  return found;
}
