// Mutations: small damage to bytes, and cuts into writes, chosen by a seeded generator.

import type { Random } from "./random.ts";

const ODD = [
  "\r",
  "\n",
  "\0",
  "\r\n",
  " ",
  "\t",
  ":",
  ";",
  ",",
  "\x0b",
  "\x0c",
  "\x7f",
  "\x85",
  "\xa0",
  "\xff",
  "\\",
  "%",
  "/",
  ".",
  "0",
  "-",
  "+",
  "_",
  '"',
];

/** Lines to insert between two others. */
const LINES = [
  "Content-Length: 0",
  "Content-Length: 2",
  "Content-Length: 5",
  "Content-Length: +2",
  "Content-Length: 2, 2",
  "Content-Length : 2",
  "Content_Length: 7",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding:\tchunked",
  "Transfer-Encoding:\x0bchunked",
  "transfer-encoding: chunked",
  "Transfer-Encoding : chunked",
  " Transfer-Encoding: chunked",
  "Connection: close",
  "Connection: keep-alive",
  "Connection: X-Hop, Authorization, Content-Length, Host",
  "X-Hop: 1",
  "Host: evil.example",
  "Host: 127.0.0.1",
  "Authorization: Bearer client-secret",
  "Proxy-Authorization: Basic Y2xpZW50",
  "Expect: 100-continue",
  "Upgrade: h2c",
  "TE: trailers, deflate",
  "Trailer: X-T",
  "Keep-Alive: timeout=5",
  "Proxy-Connection: keep-alive",
  "Origin: http://evil.example",
  "Set-Cookie: a=b",
  "Access-Control-Allow-Origin: *",
  " folded",
  "\tfolded",
  "no colon",
  ": no name",
  "X-Empty:",
  "HTTP/1.1 200 OK",
  "POST /v1/responses HTTP/1.1",
  "",
];

const HUGE = [300, 17_000, 70_000];

/** Makes one to four changes. `other` returns another seed, to take parts of. */
export function mutate(random: Random, bytes: string, other: () => string): string {
  for (let left = 1 + random.below(4); left > 0; left--) bytes = random.pick(CHANGES)(random, bytes, other);
  return bytes.length > 200_000 ? bytes.slice(0, 200_000) : bytes;
}

type Change = (random: Random, bytes: string, other: () => string) => string;

const at = (random: Random, bytes: string): number => random.below(bytes.length + 1);
/** The start of a line, where parsers decide. */
const lineStart = (random: Random, bytes: string): number => {
  const lines = [...bytes.matchAll(/\n/g)].map(({ index }) => index + 1);
  return lines.length === 0 ? at(random, bytes) : random.pick(lines);
};
const replaceAt = (bytes: string, from: number, count: number, by: string): string =>
  bytes.slice(0, from) + by + bytes.slice(from + count);

const insertLine: Change = (random, bytes) =>
  replaceAt(bytes, lineStart(random, bytes), 0, `${random.pick(LINES)}${random.oneIn(8) ? "\n" : "\r\n"}`);
const insertOdd: Change = (random, bytes) => replaceAt(bytes, at(random, bytes), 0, random.pick(ODD));

const CHANGES: readonly Change[] = [
  insertLine,
  insertLine,
  insertLine,
  insertOdd,
  insertOdd,
  (random, bytes) => replaceAt(bytes, at(random, bytes), 1, random.pick(ODD)),
  (random, bytes) => replaceAt(bytes, at(random, bytes), 1, String.fromCharCode(random.below(256))),
  (random, bytes) => replaceAt(bytes, at(random, bytes), 1 + random.below(8), ""),
  // Before or after a line's end, or in its place.
  (random, bytes) =>
    replaceAt(
      bytes,
      Math.max(0, lineStart(random, bytes) - random.below(3)),
      random.below(3),
      random.pick(ODD),
    ),
  (random, bytes) =>
    replaceAt(
      bytes,
      Math.max(0, lineStart(random, bytes) - 2),
      2,
      random.pick(["\n", "\r", "\n\r", "\r\r\n", ""]),
    ),
  // A line twice.
  (random, bytes) => {
    const from = lineStart(random, bytes);
    const end = bytes.indexOf("\n", from) + 1;
    return end === 0 ? bytes : replaceAt(bytes, end, 0, bytes.slice(from, end));
  },
  // Another number.
  (random, bytes) => {
    const numbers = [...bytes.matchAll(/(?<![0-9a-f])[0-9a-f]{1,16}(?=\r\n)/gi)];
    if (numbers.length === 0) return bytes;
    const { index, 0: number } = random.pick(numbers);
    return replaceAt(
      bytes,
      index,
      number.length,
      random.pick([
        "0",
        "1",
        "3",
        "00",
        "02",
        "0x2",
        "-1",
        "1e1",
        "ffffffffffffffff",
        "18446744073709551616",
        "9",
        " 2",
        "2 ",
      ]),
    );
  },
  (random, bytes) => {
    const from = at(random, bytes);
    return replaceAt(
      bytes,
      from,
      1,
      (bytes[from] ?? "").toUpperCase() === bytes[from]
        ? (bytes[from] ?? "").toLowerCase()
        : (bytes[from] ?? "").toUpperCase(),
    );
  },
  (random, bytes) => bytes.slice(0, at(random, bytes)),
  (_random, bytes, other) => bytes + other(),
  (random, bytes, other) => bytes.slice(0, at(random, bytes)) + other().slice(random.below(40)),
  (random, bytes) =>
    replaceAt(
      bytes,
      lineStart(random, bytes),
      0,
      `X-Huge: ${"a".repeat(random.oneIn(4) ? random.pick(HUGE) : 60)}\r\n`,
    ),
];

/** Cuts the bytes into two to five writes; short ones sometimes byte by byte. */
export function cut(random: Random, bytes: string): string[] {
  if (bytes.length < 60 && random.oneIn(4)) return [...bytes];
  const places = Array.from({ length: 1 + random.below(4) }, () =>
    random.oneIn(2) ? at(random, bytes) : Math.max(0, lineStart(random, bytes) - random.below(3)),
  );
  const borders = [0, ...new Set(places.sort((a, b) => a - b)), bytes.length];
  return borders.slice(1).map((border, i) => bytes.slice(borders[i], border));
}
