// The program with bugs, for tests: on SIGUSR2 it throws where nobody catches, on SIGWINCH it leaves a rejection to nobody, and on SIGURG
// it loses the means to make any answer. What it throws has the key in its message, as a bug's might.

// Put in by the build: the program has no other way to be told.
declare const SECRET: string;

const bug = (): never => {
  throw new TypeError(`undefined is not ${SECRET}`);
};

process.on("SIGUSR2", () => bug());
process.on("SIGWINCH", () => void Promise.reject(new TypeError(`undefined is not ${SECRET}`)));
process.on("SIGURG", () => {
  globalThis.Response = bug as unknown as typeof Response;
  // Whoever sent the signal waits for this.
  process.stdout.write("broken\n");
});
await import("../../src/main.ts");
