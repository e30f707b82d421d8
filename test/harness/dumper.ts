// Dumps COUNT requests at once, before any of their files can be finished, and waits for the files.
// Usage: bun dumper.ts DIRECTORY COUNT

import { openDumpDirectory } from "../../src/files/dump-directory.ts";
import { Dump } from "../../src/report/dump.ts";

const [directory, count] = process.argv.slice(2) as [string, string];
const dump = new Dump(openDumpDirectory(directory));
for (let number = 1; number <= Number(count); number++) {
  const exchange = dump.begin(number, new Request("http://127.0.0.1/v1/responses", { method: "POST" }));
  exchange.sent(Buffer.from("{}"));
  exchange.end();
}
await dump.close();
