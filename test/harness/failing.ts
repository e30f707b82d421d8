// The program with bugs: SIGUSR2 throws an error that nobody catches, SIGWINCH makes a rejection that nobody handles, and
// after SIGURG it cannot make any answer. The errors have the key in their message, as those of a real bug might.

import { duplicate } from "../../native/files/descriptors.ts";
import { writeAll } from "../../native/files/files.ts";

// Replaced by the build.
declare const SECRET: string;

/** Standard output, which the program leaves. */
const OUTPUT = duplicate(1);

const bug = (): never => {
  throw new TypeError(`undefined is not ${SECRET}`);
};

process.on("SIGUSR2", () => bug());
process.on("SIGWINCH", () => void Promise.reject(new TypeError(`undefined is not ${SECRET}`)));
process.on("SIGURG", () => {
  globalThis.Response = bug as unknown as typeof Response;
  // The sender of the signal waits for this line.
  writeAll(OUTPUT, Buffer.from("broken\n"));
});
await import("../../src/main.ts");
