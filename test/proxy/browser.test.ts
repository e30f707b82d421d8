// No request that a page can make a real browser send reaches the upstream or ends the proxy.

import { describe, expect, test } from "bun:test";

import { atEnd } from "../harness/cleanup.ts";
import { within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { Proxy, temporaryDirectory } from "../harness/program.ts";
import { RawUpstream } from "../harness/upstream.ts";
import { REQUEST, roundTrip } from "../harness/wire.ts";

/** A page with everything that sends a request by itself. PROXY stands for the proxy's base URL. */
const PAGE = `<!doctype html><meta charset="utf-8"><link rel="prefetch" href="PROXY/v1/responses?prefetch">
<img src="PROXY/shutdown"><img src="PROXY/v1/responses"><script src="PROXY/shutdown"></script>
<iframe src="PROXY/shutdown"></iframe><iframe name="hidden"></iframe>
<form id="form" method="post" target="hidden" enctype="text/plain" action="PROXY/v1/responses"><input name="a" value="b"></form>
<script>
const post = (mode, headers) => fetch("PROXY/v1/responses", { method: "POST", mode, headers, body: "{}", referrerPolicy: "no-referrer" });
const all = [
  post("no-cors"), post("cors"), post("cors", { "Content-Type": "application/json" }),
  fetch("PROXY/shutdown", { mode: "no-cors", referrerPolicy: "no-referrer" }), fetch("PROXY/shutdown"),
  fetch("/redirect"),
  new Promise((done) => { const worker = new Worker("/worker.js"); worker.onmessage = done; worker.onerror = done; }),
];
navigator.sendBeacon("PROXY/v1/responses", "{}");
new EventSource("PROXY/v1/responses"); new WebSocket("PROXY/v1/responses".replace("http", "ws"));
document.getElementById("form").submit();
Promise.allSettled(all).then(() => setTimeout(() => fetch("/done", { method: "POST" }), 500));
</script>`;
const WORKER = `Promise.allSettled([
  fetch("PROXY/v1/responses", { method: "POST", mode: "no-cors", body: "{}" }), fetch("PROXY/shutdown", { mode: "no-cors" }),
]).then(() => postMessage("done"));`;

/** Starts a site whose pages attack `proxy`. `done` resolves when the page's script has run to its end. */
function site(proxy: string): { url: string; done: Promise<void>; asked: string[] } {
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const asked: string[] = [];
  const type = (name: string) => ({ headers: { "content-type": name } });
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      asked.push(pathname);
      if (pathname === "/page") return new Response(PAGE.replaceAll("PROXY", proxy), type("text/html"));
      if (pathname === "/worker.js")
        return new Response(WORKER.replaceAll("PROXY", proxy), type("text/javascript"));
      if (pathname === "/typed") setTimeout(resolve, 1500);
      if (pathname === "/redirect" || pathname === "/typed")
        return Response.redirect(`${proxy}/shutdown`, 302);
      if (pathname === "/done") resolve();
      return new Response("");
    },
  });
  atEnd(() => server.stop(true));
  return { url: `http://127.0.0.1:${server.port}`, done, asked };
}

/** Opens a URL as if it had been typed, in a new profile; the browser ends with the test file. */
function browse(url: string): void {
  const directory = temporaryDirectory();
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    `--user-data-dir=${directory}/profile`,
  ];
  // It is killed, so it leaves files in TMPDIR.
  const env = { ...process.env, TMPDIR: directory };
  const child = Bun.spawn(["chromium", ...flags, url], { env, stdout: "ignore", stderr: "ignore" });
  atEnd(() => {
    child.kill("SIGKILL");
    return child.exited;
  });
}

describe.skipIf(lacks("chromium"))("in chromium (needs chromium)", () => {
  test.each(["127.0.0.1", "localhost"])("a page that tries everything, against %s", async (host) => {
    const upstream = new RawUpstream();
    // The browser's open connections are not exchanges to wait for.
    const args = [
      "--http-shutdown",
      "--shutdown-timeout=1",
      "--log-level=debug",
      `--upstream-url=${upstream.url}`,
    ];
    const proxy = await Proxy.start({ args });
    const { url, done, asked } = site(`http://${host}:${proxy.port}`);
    browse(`${url}/page`);
    // A browser takes seconds to start, and many seconds on a busy machine.
    await within(done, "the page's script to come to its end", { seconds: 40, seen: () => proxy.stderr });
    expect(asked).toContain("/redirect");
    // The requests did arrive: a browser that sent none would prove nothing.
    const refused = proxy.stderr.match(/refused: \w+/g) ?? [];
    expect(refused.length).toBeGreaterThanOrEqual(10);
    expect(refused.filter((line) => line === "refused: browser_refused").length).toBeGreaterThanOrEqual(8);
    expect(upstream.bytesReceived).toBe(0);
    // The neighbours: a program's exchange passes, and its /shutdown ends the proxy.
    expect((await roundTrip(proxy.port, REQUEST)).status).toBe(200);
    expect((await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status).toBe(
      200,
    );
    expect((await proxy.ended()).exitCode).toBe(0);
  });

  test("a typed URL that a site redirects to /shutdown", async () => {
    const proxy = await Proxy.start({ args: ["--http-shutdown", "--log-level=debug"] });
    const { url } = site(proxy.baseUrl);
    browse(`${url}/typed`);
    await proxy.waitForLine(/GET \S*\/shutdown: refused: browser_refused\n/);
    expect((await roundTrip(proxy.port, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status).toBe(
      200,
    );
  });
});
