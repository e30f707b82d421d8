// Reads a case's bytes as they are before a proxy gets them.

import { type Message, type Reading, readMessage, valuesOf } from "./http.ts";

/** A request in a case, as the strict reader reads it. */
export type Wanted = {
  method: string;
  passes: boolean;
  body: string;
  isWhole: boolean;
  isBodyWhole: boolean;
  /** The fields that Connection names, except those that the proxy adds. */
  named: string[];
};

/**
 * Reads the requests in a client's bytes, up to the first byte that is not strict HTTP/1.1. Nothing after it may reach
 * the upstream. `rest` says whether anything follows.
 */
export function readRequests(bytes: string): { wanted: Wanted[]; rest: boolean } {
  const wanted: Wanted[] = [];
  for (let at = 0; at < bytes.length;) {
    // RFC 9112 §2.2: empty lines before a request are skipped.
    if (bytes.startsWith("\r\n", at)) {
      at += 2;
      continue;
    }
    const reading = readMessage(bytes, at);
    if (reading.is !== "message") return { wanted, rest: true };
    const { message } = reading;
    const [method = "", , version] = message.first.split(" ");
    // RFC 9112 §6.1: HTTP/1.0 has no Transfer-Encoding.
    if (version === "HTTP/1.0" && message.framing === "chunks") return { wanted, rest: true };
    // Bun 1.4.5 takes the last chunk for the end of a request, before the trailers and the empty line come.
    const { isWhole } = message.framing === "chunks" ? lastChunkOf(bytes, at) : message;
    wanted.push({
      method,
      passes: mayPass(message),
      body: message.body,
      isWhole: message.isWhole,
      isBodyWhole: isWhole,
      named: namedBy(message).filter((name) => !ADDED.has(name)),
    });
    at = message.end;
    const isLast =
      version === "HTTP/1.0" || /(^|,)\s*close\s*(,|$)/i.test(valuesOf(message, "connection").join());
    if (isLast || !message.isWhole) return { wanted, rest: at < bytes.length || !message.isWhole };
  }
  return { wanted, rest: false };
}

function lastChunkOf(bytes: string, at: number): { isWhole: boolean } {
  const reading = readMessage(bytes, at, { isLenient: true });
  return reading.is === "message" ? reading.message : { isWhole: false };
}

const BROWSERS = /^(origin|referer|sec-fetch-.*)$/;

function mayPass(request: Message): boolean {
  return (
    // The absolute form passes whatever its host (RFC 9112 §3.2.2); the upstream gets its own line all the same.
    /^POST ([Hh][Tt][Tt][Pp]:\/\/[^/?#]*)?\/v1\/responses HTTP\/1\./.test(request.first) &&
    /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/i.test(valuesOf(request, "host").join()) &&
    valuesOf(request, "content-length").length < 2 &&
    !request.fields.some(
      ([name, value]) => BROWSERS.test(name) && !(name === "sec-fetch-mode" && value === "cors"),
    )
  );
}

/** Reads the final answer in an upstream's bytes, leniently. */
export function readUpstreamAnswer(bytes: string): Reading {
  for (let at = 0; ;) {
    const status = /^HTTP\/1\.[01] +([0-9]{3})/.exec(bytes.slice(at, at + 40))?.[1] ?? "";
    // 205 has no content (RFC 9110 §15.3.6), and Bun 1.4.5 reads none, whatever its length says.
    const noBody = /^(1..|20[45]|304)$/.test(status);
    const reading = readMessage(bytes, at, { isAnswer: true, noBody, isLenient: true });
    if (reading.is !== "message" || !status.startsWith("1") || status === "101") return reading;
    at = reading.message.end;
  }
}

/** The fields that the proxy, or Bun, adds to a request. */
const ADDED = new Set(
  "accept accept-encoding authorization connection content-length content-type host transfer-encoding user-agent".split(
    " ",
  ),
);

/** Returns the names in a message's Connection fields, in lower case. */
export const namedBy = (message: Pick<Message, "fields">): string[] =>
  valuesOf(message, "connection")
    .join()
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
