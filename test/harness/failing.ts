// The program with bugs: SIGUSR2 throws an error that nobody catches, SIGWINCH makes a rejection that nobody handles, and
// after SIGURG it cannot make any answer. The errors have the key in their message, as those of a real bug might.

// Replaced by the build.
declare const SECRET: string;

const bug = (): never => {
  throw new TypeError(`undefined is not ${SECRET}`);
};

process.on("SIGUSR2", () => bug());
process.on("SIGWINCH", () => void Promise.reject(new TypeError(`undefined is not ${SECRET}`)));
process.on("SIGURG", () => {
  globalThis.Response = bug as unknown as typeof Response;
  // The sender of the signal waits for this line.
  process.stdout.write("broken\n");
});
await import("../../src/main.ts");
