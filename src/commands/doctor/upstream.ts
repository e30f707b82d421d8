// What decides whom the upstream's connection is trusted to, and whether the upstream can be reached: one step at a time, on the way
// that the proxy's requests would go.

import type { Socket } from "node:net";

import { causeOf } from "../../base/errors.ts";
import { type Environment, trustVariables, unclearProxy } from "../../input/environment.ts";
import { portOf } from "../../input/options.ts";
import { type Check, type CheckId, fatal, ok, warning } from "./checks.ts";
import { askForHead, connect, openTunnel, resolveName, secure, timed } from "./connection.ts";
import { proxyFor } from "./route.ts";

const CLOCK_MAY_DIFFER_MS = 60_000;

/** `caller` is what doctor was started with, `clean` what the proxy would keep of it. */
export function checkEnvironment(caller: Environment, clean: Environment): Check[] {
  const inForce = trustVariables(clean);
  const proxies = inForce.filter((text) => /^(https?|no)_proxy=/i.test(text));
  const authorities = inForce.filter((text) => !proxies.includes(text));
  const unclear = unclearProxy(caller);
  return [
    unclear === undefined
      ? ok("proxy", proxies.join(" ") || "no variable in force")
      : fatal(
          "proxy",
          `${unclear} is no URL`,
          `make it one such as http://proxy.example:3128, or env -u ${unclear}`,
        ),
    authorities.length === 0
      ? ok("authorities", "no variable in force")
      : warning(
          "authorities",
          authorities.join(" "),
          "decides who is believed to be the upstream: see that it is meant, and root's",
        ),
  ];
}

/** The steps to the upstream; those behind one that failed are left out. */
export async function checkUpstream(url: URL, environment: Environment): Promise<Check[]> {
  const checks: Check[] = [];
  const proxy = proxyFor(url, environment);
  try {
    const reached = await reach(url, proxy, (check) => checks.push(check));
    const began = Date.now();
    const { value, ms } = await step("http", "", () => askForHead(reached, url.host));
    reached.destroy();
    checks.push(ok("http", `HEAD / is answered ${value.status}, ${ms} ms`));
    checks.push(describeClock(value.date, began + ms / 2));
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    checks.push(
      fatal(error.id, error.message, ADVICE[error.id] ?? "see whether the upstream is the right one"),
    );
  }
  return checks;
}

const ADVICE: Partial<Record<CheckId, string>> = {
  dns: "see /etc/resolv.conf, and whether the name is right",
  tcp: "see whether a firewall is in the way, or HTTPS_PROXY should name a proxy",
  tunnel: "see HTTPS_PROXY and who may use that proxy; NO_PROXY leads around it",
  tls: "see whom you talk to; NODE_EXTRA_CA_CERTS names a further authority, if it is meant",
};

/** A step that failed, in words for its line. */
class StepError extends Error {
  constructor(
    readonly id: CheckId,
    message: string,
  ) {
    super(message);
  }
}

async function step<T>(id: CheckId, what: string, action: () => Promise<T>) {
  try {
    return await timed(action);
  } catch (error) {
    throw new StepError(id, `${what}${what === "" ? "" : ": "}${failureOf(error)}`);
  }
}

function failureOf(error: unknown): string {
  const cause = causeOf(error);
  return cause === "ETIMEDOUT" ? "no answer in 5 s" : `failed (${cause})`;
}

/** A connection on which the upstream speaks; `note` hears of each step that went well. */
async function reach(url: URL, proxy: URL | undefined, note: (check: Check) => void): Promise<Socket> {
  const first = proxy ?? url;
  const whose = proxy === undefined ? "" : "the proxy ";
  const name = nameOf(first);
  const names = await step("dns", name, () => resolveName(name));
  const more = names.value.length > 1 ? ` and ${names.value.length - 1} more` : "";
  note(ok("dns", `${whose}${name} is ${names.value[0]}${more}, ${names.ms} ms`));
  const port = portOf(first);
  const joined = await step("tcp", `${whose}port ${port}`, () => connect(names.value, port));
  note(ok("tcp", `${whose}port ${port} of ${joined.value.remoteAddress} answers, ${joined.ms} ms`));
  let socket = joined.value;
  if (proxy !== undefined) {
    if (proxy.protocol === "https:") socket = (await encrypt(socket, proxy)).socket;
    const target = `${url.hostname}:${portOf(url)}`;
    const opened = await step("tunnel", `CONNECT ${target}`, () => openTunnel(socket, proxy, target));
    if (opened.value !== 200)
      throw new StepError("tunnel", `the proxy answered ${opened.value} to CONNECT ${target}`);
    note(ok("tunnel", `the proxy connects to ${target}, ${opened.ms} ms`));
  }
  if (url.protocol !== "https:") {
    note(plainHttp(url));
    return socket;
  }
  const { text, socket: secured } = await encrypt(socket, url);
  note(ok("tls", text));
  return secured;
}

async function encrypt(plain: Socket, url: URL) {
  const { value, ms } = await step("tls", "", () => secure(plain, nameOf(url)));
  const { socket, protocol, issuer, validTo, refusal } = value;
  if (refusal !== undefined) {
    socket.destroy();
    throw new StepError("tls", `the certificate of ${url.hostname}, by ${issuer}, is refused (${refusal})`);
  }
  const until = Number.isNaN(Date.parse(validTo))
    ? ""
    : ` until ${new Date(validTo).toISOString().slice(0, 10)}`;
  return { socket, text: `${protocol}, ${ms} ms; certificate by ${issuer}${until}` };
}

function plainHttp(url: URL): Check {
  const text = `plain http to ${url.hostname}: nothing is encrypted`;
  return nameOf(url) === "localhost" || /^(127\.|::1$)/.test(nameOf(url))
    ? ok("tls", text)
    : warning("tls", text, "the key can be read on the network; use https");
}

/** By a field with whole seconds (RFC 9110 §6.6.1), so what is under two of them is nothing. */
function describeClock(date: string | undefined, now: number): Check {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return ok("clock", "the upstream's answer has no date to compare with");
  const skew = now - (theirs + 500);
  const seconds = Math.round(Math.abs(skew) / 1000);
  if (seconds < 2) return ok("clock", "as the upstream's");
  const text = `${seconds} s ${skew > 0 ? "ahead of" : "behind"} the upstream's`;
  if (Math.abs(skew) < CLOCK_MAY_DIFFER_MS) return ok("clock", text);
  return warning("clock", text, "set it: certificates are good and bad by the clock");
}

/** A host name as resolvers and certificates have it: an IPv6 address without brackets. */
function nameOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}
