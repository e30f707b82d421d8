// Sends one request through src/proxy/upstream.ts and prints the answer's status, or why there is none. It keeps
// environment variables that the program drops at its second start. Usage: bun sender.ts URL KEY

import { causeOf } from "../../src/base/errors.ts";
import { Authorization } from "../../src/key/key.ts";
import { Upstream } from "../../src/proxy/upstream.ts";

const [url, key] = process.argv.slice(2) as [string, string];
const upstream = new Upstream({ upstreamUrl: new URL(url) }, new Authorization(`Bearer ${key}`));
const sent = upstream.send(new Headers(), Buffer.from("hi"), new AbortController().signal);
console.log(
  await sent.then(
    ({ status }) => status,
    (error: unknown) => causeOf(error),
  ),
);
