// A strict HTTP/1.1 reader (RFC 9112): a message is exactly valid or it is invalid. Both ends of the fuzzer read with it
// what the proxy sends, and the fuzzer reads the cases with it.

type Field = [name: string, value: string];

export type Message = {
  first: string;
  /** Names in lower case, order and repetition kept. */
  fields: Field[];
  body: string;
  /** Whether the message is complete; if not, `body` is the part that is there. */
  isWhole: boolean;
  /** The index in the text at which it ends. */
  end: number;
  framing: "none" | "length" | "chunks" | "close";
  /** What is wrong with the rest of the body, or with its trailers. */
  fault?: string;
};

export type Reading =
  | { is: "message"; message: Message }
  /** The head is incomplete. */
  | { is: "partial" }
  | { is: "invalid"; why: string };

type Manner = {
  isAnswer?: boolean;
  /** It cannot have a body (HEAD, 1xx, 204, 304). */
  noBody?: boolean;
  /** Read an answer as Bun 1.4.5 does, to compare what the proxy passes on: see LENIENT below. */
  isLenient?: boolean;
};

/** A target must not contain DEL or bytes above (RFC 3986); Bun 1.4.5 accepts them, and the route contains none. */
const REQUEST_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\xff]+ HTTP\/1\.[01]$/;
const LENIENT_STATUS_LINE = /^HTTP\/1\.[01] +[0-9]{3}( [\t\x20-\x7e\x80-\xff]*)?$/;
const STATUS_LINE = /^HTTP\/1\.[01] [0-9]{3}( [\t\x20-\x7e\x80-\xff]*)?$/;
/** A value must not contain DEL (RFC 9110 §5.5); Bun 1.4.5 passes it on, and no reader takes it for a line's end. */
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\xff]*)$/;

/** Reads the message that begins at `at`. */
export function readMessage(text: string, at: number, manner: Manner = {}): Reading {
  const head = takeHead(text, at, manner);
  if (head === undefined) return { is: "partial" };
  const [first = "", ...lines] = head.lines;
  const line = !manner.isAnswer ? REQUEST_LINE : manner.isLenient ? LENIENT_STATUS_LINE : STATUS_LINE;
  if (!line.test(first)) return invalid(`first line ${show(first)}`);
  const fields: Field[] = [];
  for (const text of lines) {
    const [, name, value] = FIELD.exec(text) ?? [];
    if (name === undefined) return invalid(`field ${show(text)}`);
    fields.push([name.toLowerCase(), value!.replace(/[ \t]+$/, "")]);
  }
  return readBody(text, head.end, { first, fields }, manner);
}

/** Returns all values of a field. */
export const valuesOf = ({ fields }: { fields: readonly Field[] }, name: string): string[] =>
  fields.filter(([one]) => one === name).map(([, value]) => value);

/** Returns the text for a person, with unprintable characters escaped. */
export const show = (text: string): string => {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return JSON.stringify(short).replace(/[\x7f-\xff]/g, (c) => `\\x${c.charCodeAt(0).toString(16)}`);
};

function takeHead(
  text: string,
  at: number,
  { isLenient = false }: Manner,
): { lines: string[]; end: number } | undefined {
  if (!isLenient) {
    const end = text.indexOf("\r\n\r\n", at);
    return end === -1 ? undefined : { lines: text.slice(at, end).split("\r\n"), end: end + 4 };
  }
  const lines: string[] = [];
  for (let from = at; ;) {
    const lf = text.indexOf("\n", from);
    if (lf === -1) return undefined;
    const line = text.slice(from, text[lf - 1] === "\r" && lf > from ? lf - 1 : lf);
    from = lf + 1;
    if (line === "") return { lines, end: from };
    lines.push(line);
  }
}

function readBody(
  text: string,
  at: number,
  head: { first: string; fields: Field[] },
  { noBody = false, isAnswer = false, isLenient = false }: Manner,
): Reading {
  const { lengths, codings } = isLenient ? lenientFraming(head) : strictFraming(head);
  const of = (framing: Message["framing"], body: string, isWhole: boolean, end: number): Reading => ({
    is: "message",
    message: { ...head, body, isWhole, end, framing },
  });
  if (isLenient && noBody) return of("none", "", true, at);
  if (lengths.length > 1) return invalid("two different Content-Lengths");
  if (lengths.length > 0 && codings.length > 0) return invalid("Content-Length with Transfer-Encoding");
  if (lengths.length > 0 && !/^[0-9]{1,19}$/.test(lengths[0]!))
    return invalid(`Content-Length ${show(lengths[0]!)}`);
  if (codings.length > 1 || (codings.length > 0 && codings[0]!.toLowerCase() !== "chunked"))
    return invalid(`Transfer-Encoding ${show(codings.join())}`);
  if (noBody) return of("none", "", true, at);
  if (lengths.length > 0) {
    const end = at + Number(lengths[0]);
    return of("length", text.slice(at, end), text.length >= end, Math.min(end, text.length));
  }
  if (codings.length > 0) {
    const { body, isWhole, end, fault } = readChunks(text, at, isLenient);
    if (fault === undefined) return of("chunks", body, isWhole, end);
    return { is: "message", message: { ...head, body, isWhole, end, framing: "chunks", fault } };
  }
  return isAnswer ? of("close", text.slice(at), false, text.length) : of("none", "", true, at);
}

const strictFraming = (head: { fields: Field[] }) => ({
  // RFC 9110 §8.6: the same length twice may be read as one; it is never passed on.
  lengths: [...new Set(valuesOf(head, "content-length").map((value) => value.replace(/^0+(?=\d)/, "")))],
  // RFC 9110 §5.6.1.2: empty elements of a list count for nothing.
  codings: valuesOf(head, "transfer-encoding").map((value) =>
    value.replace(/(?<=[^\s,])[\s,]+$|^[\s,]+(?=[^\s,])/g, ""),
  ),
});

/**
 * LENIENT: a line of a head may end with LF alone, and spaces may precede the status. Chunks override a length (RFC 9112
 * §6.3), and other codings may precede chunked. The last chunk's line ends the answer, whatever follows it.
 */
function lenientFraming(head: { fields: Field[] }): ReturnType<typeof strictFraming> {
  const { lengths, codings } = strictFraming(head);
  const isChunked = /(^|,)[ \t]*chunked$/i.test(codings.at(-1) ?? "");
  if (isChunked) return { lengths: [], codings: ["chunked"] };
  return { lengths, codings };
}

type Chunks = { body: string; isWhole: boolean; end: number; fault?: string };

/** Reads chunks, with their extensions and trailers. */
function readChunks(text: string, at: number, isLenient: boolean): Chunks {
  let body = "";
  const unfinished = (): Chunks => ({ body, isWhole: false, end: text.length });
  const wrong = (fault: string): Chunks => ({ ...unfinished(), fault });
  for (;;) {
    const lf = text.indexOf("\n", at);
    const line = text.slice(at, lf === -1 ? undefined : lf + 1);
    const [, size] = /^([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n$/.exec(line) ?? [];
    if (size === undefined) {
      const couldGoOn = /^(?:[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?)$/;
      return lf === -1 && couldGoOn.test(line) ? unfinished() : wrong(`chunk size ${show(line)}`);
    }
    at = lf + 1;
    const length = Number.parseInt(size, 16);
    if (length === 0) break;
    body += text.slice(at, at + length);
    const after = text.slice(at + length, at + length + 2);
    if (!"\r\n".startsWith(after)) return wrong(`after a chunk ${show(after)}`);
    if (after.length < 2) return unfinished();
    at += length + 2;
  }
  const trailers = takeTrailers(text, at);
  if (typeof trailers === "number") return { body, isWhole: true, end: trailers };
  // The body is complete.
  if (isLenient) return { body, isWhole: true, end: at, fault: trailers ?? "no end of the trailers" };
  return trailers === undefined ? unfinished() : wrong(trailers);
}

/** Returns the index at which the trailers end, what is wrong with them, or undefined if they are incomplete. */
function takeTrailers(text: string, at: number): number | string | undefined {
  for (;;) {
    const end = text.indexOf("\r\n", at);
    if (end === -1) return undefined;
    const line = text.slice(at, end);
    at = end + 2;
    if (line === "") return at;
    if (!FIELD.test(line)) return `trailer ${show(line)}`;
  }
}

const invalid = (why: string): Reading => ({ is: "invalid", why });
