// Sends raw bytes on a connection to the proxy, and waits for the bytes that come back.

import { connect, type Socket } from "node:net";

import { within } from "./deadline.ts";
import { fateOfProxyOn } from "./program.ts";

/** The plainest request that passes. */
export const HEAD = "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n";
export const REQUEST = `${HEAD}Content-Length: 2\r\n\r\nhi`;

/** On the wire: the head of an event stream, a chunk of it, and its end. */
export const STREAM =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
export const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
export const LAST_CHUNK = "0\r\n\r\n";

export type Wire = {
  /** Everything received so far, one character a byte. */
  received: string;
  /** How the other side ended the connection; undefined while it is open. */
  closed: "end" | "reset" | undefined;
  send: (bytes: string) => void;
  /** Resolves when `pattern` has been received or the connection is closed. */
  until: (pattern: RegExp, seconds?: number) => Promise<string>;
  /** Resolves when the other side has closed or reset the connection. */
  untilClosed: (seconds?: number) => Promise<"end" | "reset">;
  socket: Socket;
};

/** A port on 127.0.0.1, or the path of a Unix socket. */
export type Address = number | string;

/** Connects and sends `bytes`, one character a byte. */
export async function open(address: Address, bytes = ""): Promise<Wire> {
  const where = typeof address === "string" ? `socket ${address}` : `port ${address}`;
  const socket =
    typeof address === "string"
      ? connect({ path: address })
      : connect({ port: address, host: "127.0.0.1", noDelay: true });
  const looking = new Set<() => void>();
  const look = (): void => looking.forEach((one) => one());
  const wire: Wire = {
    received: "",
    closed: undefined,
    socket,
    send: (more) => void socket.write(Buffer.from(more, "latin1")),
    until: async (pattern, seconds) => {
      await waitUntil(() => pattern.test(wire.received) || wire.closed !== undefined, `${pattern}`, seconds);
      return wire.received;
    },
    untilClosed: async (seconds) => {
      await waitUntil(() => wire.closed !== undefined, "the end", seconds);
      return wire.closed!;
    },
  };
  async function waitUntil(holds: () => boolean, what: string, seconds?: number): Promise<void> {
    const held = Promise.withResolvers<void>();
    const one = (): void => {
      if (holds()) held.resolve();
    };
    looking.add(one);
    one();
    try {
      await within(held.promise, `${what} on the connection to ${where}`, {
        seen: () =>
          `${wire.received.length} bytes, at their end ${JSON.stringify(wire.received.slice(-500))}`,
        ...(seconds === undefined ? {} : { seconds }),
      });
    } finally {
      looking.delete(one);
    }
  }
  socket.on("data", (bytes) => {
    wire.received += bytes.toString("latin1");
    look();
  });
  socket.on("error", () => {
    wire.closed = "reset";
    look();
  });
  socket.on("end", () => {
    wire.closed ??= "end";
    look();
  });
  socket.on("close", () => {
    wire.closed ??= "end";
    look();
  });
  const connected = new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  await within(connected, `a connection to ${where}`).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await fateOfProxyOn(address)}`);
  });
  if (bytes !== "") wire.send(bytes);
  return wire;
}

export type Answer = { status: number; fields: [name: string, value: string][]; body: string; raw: string };

/** Sends one request and reads one whole answer (a Content-Length, chunks, or up to the end), then closes. */
export async function roundTrip(address: Address, request: string): Promise<Answer> {
  const wire = await open(address, request);
  await wire.until(/^HTTP\/1\.1 (?!1\d\d)[\s\S]*?\r\n\r\n/m);
  const end = () => parseAnswer(wire.received, wire.closed !== undefined);
  while (end() === undefined && wire.closed === undefined) {
    const seen = wire.received.length;
    await wire.until(new RegExp(`^[\\s\\S]{${seen + 1},}`));
  }
  wire.socket.destroy();
  return end() ?? { status: 0, fields: [], body: "", raw: wire.received };
}

/** Returns the final answer in `raw`; undefined until it is whole. */
export function parseAnswer(raw: string, closed: boolean): Answer | undefined {
  const text = raw.replace(/^(HTTP\/1\.1 1\d\d [\s\S]*?\r\n\r\n)+/, "");
  const [head, ...rest] = text.split("\r\n\r\n");
  const body = rest.join("\r\n\r\n");
  const { first, fields } = parseHead(head ?? "");
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1]);
  if (rest.length === 0 || Number.isNaN(status)) return undefined;
  const length = fields.find(([name]) => name === "content-length")?.[1];
  const chunked = fields.some(([name, value]) => name === "transfer-encoding" && value === "chunked");
  const isWhole = chunked ? /(^|\r\n)0\r\n\r\n$/.test(body) : body.length >= Number(length ?? 0);
  if (!isWhole && !closed) return undefined;
  return { status, fields, body: chunked ? unchunk(body) : body, raw };
}

/** Returns the first line and the fields of a head; names in lower case, order and repetition kept. */
export function parseHead(head: string): { first: string; fields: [string, string][] } {
  const [first = "", ...lines] = head.split("\r\n");
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { first, fields };
}

/** Returns the content of a chunked body. */
export function unchunk(body: string): string {
  let content = "";
  let rest = body;
  for (;;) {
    const size = Number.parseInt(/^([0-9a-f]+)[^\r]*\r\n/i.exec(rest)?.[1] ?? "0", 16);
    const start = rest.indexOf("\r\n") + 2;
    if (size === 0) return content;
    content += rest.slice(start, start + size);
    rest = rest.slice(start + size + 2);
  }
}
