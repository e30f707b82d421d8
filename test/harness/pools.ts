// Sends a request to each URL over each pool of src/proxy/pools.ts, and prints for each pool how they went, as a line of JSON. The pools get
// their TLS configurations from the environment that a process starts with. Usage: bun pools.ts URL…

import { causeOf } from "../../src/base/errors.ts";
import { fetchSettings } from "../../src/input/upstream-url.ts";
import { MAX_POOLS, sessionOf } from "../../src/proxy/pools.ts";

async function ask(url: string, pool: number): Promise<string> {
  const settings = { ...fetchSettings(new URL(url)), session: sessionOf(pool) };
  return fetch(url, settings as RequestInit).then(
    (answer) => answer.text(),
    (error: unknown) => causeOf(error),
  );
}

for (let pool = 0; pool < MAX_POOLS; pool++) {
  const found: string[] = [];
  for (const url of process.argv.slice(2)) found.push(await ask(url, pool));
  console.log(JSON.stringify(found));
}
