// Which way requests to the upstream go: straight, or through the environment's HTTPS proxy. Pure; as Bun 1.4.5's fetch has it, which
// the proxy leaves this to, but for address ranges (10.0.0.0/8) in NO_PROXY.

import type { Environment } from "../../input/environment.ts";
import { isLoopback } from "../../input/options.ts";

/** The proxy, undefined for straight. */
export function proxyFor(upstreamUrl: URL, environment: Environment): URL | undefined {
  // HTTP_PROXY is not among the variables that the second start keeps.
  if (upstreamUrl.protocol !== "https:" || isLoopback(upstreamUrl)) return undefined;
  const proxy = environment["https_proxy"] || environment["HTTPS_PROXY"] || "";
  const exceptions = environment["no_proxy"] || environment["NO_PROXY"] || "";
  if (exceptions.split(/[\s,]+/).some((pattern) => excepts(pattern, upstreamUrl))) return undefined;
  return URL.parse(proxy) ?? undefined;
}

/** `example.com`, `.example.com` and `*.example.com` are all three the name and what ends in it; a port narrows it down; `*` is all. */
function excepts(pattern: string, { hostname, port }: URL): boolean {
  const [, name = "", ofPort] = /^(?:\*?\.)?(.*?)(?::(\d+))?$/.exec(pattern.toLowerCase()) ?? [];
  if (name === "*") return true;
  if (name === "" || (ofPort !== undefined && ofPort !== (port || "443"))) return false;
  return hostname === name || hostname.endsWith(`.${name}`);
}
