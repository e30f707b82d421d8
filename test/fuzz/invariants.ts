// What must hold in every case: pure functions of the bytes sent and received, which yield a line for each violation.

import { ERROR_CODES } from "../../src/proxy/error-response.ts";
import { type Message, type Reading, readMessage, show, valuesOf } from "./http.ts";
import { namedBy, type Wanted } from "./reading.ts";

/** The hop-by-hop fields: none is passed on, in either direction. */
const HOP_BY_HOP = [
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
];
const FOR_PAGES =
  /^access-control-(allow-(credentials|headers|methods|origin|private-network)|expose-headers|max-age)$/;
const CODES = new Set<string>(ERROR_CODES);

/** Yields what is wrong with a request that has reached the upstream. */
export function* faultsOfRequest(request: Message, authorization: string, host: string): Generator<string> {
  if (request.first !== "POST /v1/responses HTTP/1.1")
    yield `upstream got the first line ${show(request.first)}`;
  const own = valuesOf(request, "authorization");
  if (own.length !== 1 || own[0] !== authorization)
    yield "upstream got an Authorization that is not the proxy's, or not one";
  if (valuesOf(request, "host").join() !== host)
    yield `upstream got the Host ${show(valuesOf(request, "host").join())}`;
  if (!["", "keep-alive"].includes(valuesOf(request, "connection").join()))
    yield "upstream got a Connection field of the client's";
  if (valuesOf(request, "content-length").length > 1) yield "upstream got two Content-Lengths";
  yield* HOP_BY_HOP.filter((name) => valuesOf(request, name).length > 0).map(
    (name) => `upstream got the hop-by-hop field ${name}`,
  );
}

/** Yields each request of `reached` that is not in `wanted`, in this order: one too many, or with another body. */
export function* faultsOfReaching(wanted: readonly Wanted[], reached: readonly Message[]): Generator<string> {
  let next = 0;
  for (const { body, isWhole, fields } of reached) {
    const fits = (one: Wanted): boolean =>
      one.passes && (isWhole ? one.isBodyWhole && one.body === body : one.body.startsWith(body));
    while (next < wanted.length && !fits(wanted[next]!)) next++;
    const one = wanted[next++];
    if (one === undefined)
      yield `upstream got a request that the client did not send, or should not have: body ${show(body)}`;
    for (const [name] of fields)
      if (one?.named.includes(name)) yield `upstream got the field ${name}, which Connection names`;
  }
}

type Answers = { final: Message[]; faults: string[] };

/** Reads the answers that a client received; `methods` are those of its requests, for HEAD. */
export function readAnswers(received: string, isClosed: boolean, methods: readonly string[] = []): Answers {
  const final: Message[] = [];
  for (let at = 0; at < received.length;) {
    const status = received.slice(at + 9, at + 12);
    const noBody = /^(1..|204|304)$/.test(status) || methods[final.length] === "HEAD";
    const reading = readMessage(received, at, { isAnswer: true, noBody });
    if (reading.is === "invalid")
      return { final, faults: [`client got what is no HTTP/1.1: ${reading.why}`] };
    if (reading.is === "partial") break;
    const { fault } = reading.message;
    if (fault !== undefined) return { final, faults: [`client got what is no HTTP/1.1: ${fault}`] };
    at = reading.message.end;
    if (!status.startsWith("1")) final.push(reading.message);
    if (!reading.message.isWhole) break;
  }
  const faults = final.flatMap((answer) => [...faultsOfFields(answer)]);
  // Bun's own refusals of unreadable requests have no body and no length; the connection's end is their end.
  const last = final.at(-1);
  if (last?.framing === "close" && isClosed) last.isWhole = true;
  return { final, faults };
}

function* faultsOfFields(answer: Message): Generator<string> {
  const { fields } = answer;
  // RFC 9110 §15.5.22: that answer says which protocol it would be.
  const isUpgrade = isOwn(answer) && statusOf(answer) === 426;
  if (valuesOf({ fields }, "content-length").length > 1) yield "client got two Content-Lengths";
  for (const [name] of fields) {
    if (name === "upgrade" && isUpgrade) continue;
    if (HOP_BY_HOP.includes(name) || FOR_PAGES.test(name)) yield `client got the field ${name}`;
  }
}

export const statusOf = ({ first }: Message): number => Number(/ +(\d{3})/.exec(first)?.[1]);

/** Whether the proxy made this answer itself. */
export const isOwn = (answer: Message): boolean =>
  valuesOf(answer, "server").join().startsWith("responses-api-proxy/");

/** Yields what is wrong with an answer that the proxy or Bun made itself. */
export function* faultsOfOwn(answer: Message, method?: string): Generator<string> {
  const status = statusOf(answer);
  if (!isOwn(answer)) {
    if (![400, 413, 414, 417, 431, 501, 505].includes(status) || answer.body !== "")
      yield `client got ${show(answer.first)} from nobody`;
    return;
  }
  if (![403, 426, 502, 503, 504].includes(status))
    yield `client got status ${status} from the proxy itself: ${show(answer.body)}`;
  if (!answer.isWhole || method === "HEAD") return;
  const [, code = ""] = /"code":"(\w+)"/.exec(answer.body) ?? [];
  if (!CODES.has(code)) yield `client got an error without a known code: ${show(answer.body)}`;
}

/** Yields what is wrong with an answer that is passed on: it must be the upstream's, and complete only if that was. */
export function* faultsOfPassedOn(answer: Message, sent: Reading): Generator<string> {
  if (sent.is !== "message") {
    yield `client got ${show(answer.first)} for an answer that is ${sent.is}${sent.is === "invalid" ? `: ${sent.why}` : ""}`;
    return;
  }
  const { message } = sent;
  if (statusOf(answer) !== statusOf(message))
    yield `client got ${show(answer.first)} for ${show(message.first)}`;
  if (answer.isWhole && !message.isWhole)
    yield `client got as whole what the upstream broke off: ${show(answer.body)}`;
  else if (answer.isWhole && answer.body !== message.body)
    yield `client got the body ${show(answer.body)} for ${show(message.body)}`;
  else if (!message.body.startsWith(answer.body))
    yield `client got ${show(answer.body)}, not a beginning of ${show(message.body)}`;
  const named = namedBy(message);
  const own = ["connection", "date", "content-length", "content-type", "transfer-encoding"];
  for (const [name] of answer.fields)
    if (named.includes(name) && !own.includes(name))
      yield `client got the field ${name}, which Connection names`;
}
