// Sends one request through src/proxy/upstream.ts and prints the answer's status, or why there is none. It keeps
// environment variables that the program drops at its second start. Usage: bun sender.ts URL KEY

import { causeOf } from "../../src/base/errors.ts";
import { Authorization } from "../../src/key/authorization.ts";
import { keyCredential } from "../../src/key/credential.ts";
import { Upstream } from "../../src/proxy/upstream.ts";

const [url, key] = process.argv.slice(2) as [string, string];
const credential = keyCredential(new Authorization(`Bearer ${key}`));
const upstream = new Upstream({ upstreamUrl: new URL(url) }, {}, credential);
const sent = upstream.send(new Headers(), Buffer.from("hi"), new AbortController().signal, 0);
console.log(
  await sent.then(
    ({ status }) => status,
    (error: unknown) => causeOf(error),
  ),
);
