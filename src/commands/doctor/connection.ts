// A connection to the upstream for `doctor`, step by step, with the time each step took. It carries no key: there is none.

import { lookup } from "node:dns/promises";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls, type TLSSocket } from "node:tls";

import { causeOf, SERVER } from "../../base/errors.ts";

export const STEP_TIMEOUT_MS = 5000;
const MAX_HEAD_BYTES = 16_384;

/** What a step gave, and how long it took. */
export type Timed<T> = { value: T; ms: number };

/** One step; rejects with an error whose `causeOf` is ETIMEDOUT where it takes too long. */
export async function timed<T>(step: () => Promise<T>): Promise<Timed<T>> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(Object.assign(new Error("too late"), { code: "ETIMEDOUT" })),
    STEP_TIMEOUT_MS,
  );
  const began = performance.now();
  try {
    return { value: await Promise.race([step(), late.promise]), ms: Math.round(performance.now() - began) };
  } finally {
    clearTimeout(timer);
  }
}

/** The addresses of a name, as the C library resolves it. */
export async function resolveName(hostname: string): Promise<string[]> {
  const found = await lookup(hostname, { all: true });
  return found.map(({ address }) => address);
}

/** Connects to whichever of the addresses answers first. */
export async function connect(addresses: readonly string[], port: number): Promise<Socket> {
  const sockets = addresses.map((host) => connectSocket({ host, port }));
  const reached = sockets.map(async (socket) => {
    await once(socket, "connect");
    return socket;
  });
  try {
    const first = await Promise.any(reached);
    for (const socket of sockets) if (socket !== first) socket.destroy();
    return first;
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}

/** Asks an HTTP proxy for a way to the upstream (RFC 9110 §9.3.6); answers its status. */
export async function openTunnel(socket: Socket, proxy: URL, target: string): Promise<number> {
  const credentials = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const field = credentials === ":" ? "" : `Proxy-Authorization: Basic ${btoa(credentials)}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${field}\r\n`);
  return (await readHead(socket)).status;
}

export type Secured = {
  socket: TLSSocket;
  /** TLSv1.3, say. */
  protocol: string;
  issuer: string;
  validTo: string;
  /** Why the certificate is refused; undefined where it is good. */
  refusal: string | undefined;
};

/** TLS over a connection that is there. A certificate that is refused is no error here, so that one can say whose it is. */
export async function secure(plain: Socket, hostname: string): Promise<Secured> {
  const socket = connectTls({
    socket: plain,
    // RFC 6066 §3: no addresses.
    ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  const certificate = socket.getPeerCertificate();
  // An address goes without a server name, by which Bun 1.4.5 would have compared.
  const mismatch = checkServerIdentity(hostname, certificate);
  return {
    socket,
    protocol: socket.getProtocol() ?? "TLS",
    issuer: [certificate.issuer?.O, certificate.issuer?.CN].filter(Boolean).join(", ") || "nobody",
    validTo: certificate.valid_to ?? "",
    refusal: causeOfRefusal(socket.authorizationError) ?? causeOfRefusal(mismatch),
  };
}

/** Asks for nothing, and without a key. */
export async function askForHead(socket: Socket, host: string): Promise<Head> {
  socket.write(`HEAD / HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: ${SERVER}\r\nConnection: close\r\n\r\n`);
  return readHead(socket);
}

export type Head = { status: number; date: string | undefined };

function readHead(socket: Socket): Promise<Head> {
  const head = Promise.withResolvers<Head>();
  let received = "";
  socket.on("data", function take(bytes: Buffer) {
    received += bytes.toString("latin1");
    const end = received.indexOf("\r\n\r\n");
    if (end === -1 && received.length < MAX_HEAD_BYTES) return;
    socket.off("data", take);
    const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(received) ?? [];
    if (end === -1 || status === undefined) head.reject(named("not HTTP/1.1"));
    const [, date] = /\r\ndate: *([^\r]+)\r\n/i.exec(received.slice(0, end + 2)) ?? [];
    head.resolve({ status: Number(status), date });
  });
  socket.once("error", head.reject);
  socket.once("close", () => head.reject(named("it closed the connection")));
  return head.promise;
}

/** Resolves at the event; rejects where the connection fails or closes before. */
function once(socket: Socket, event: string): Promise<void> {
  const reached = Promise.withResolvers<void>();
  socket.once(event, () => reached.resolve());
  // Stays: an error that nobody hears would end the program.
  socket.on("error", reached.reject);
  socket.once("close", () => reached.reject(named("it closed the connection")));
  return reached.promise;
}

/** node:tls has the reason's name as an error or as a text. */
function causeOfRefusal(reason: unknown): string | undefined {
  if (reason === null || reason === undefined) return undefined;
  return typeof reason === "string" ? reason : causeOf(reason);
}

function named(code: string): Error {
  return Object.assign(new Error(code), { code });
}
