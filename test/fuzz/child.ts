// The proxy as a child process, with a key that must not leak.

/** A key no other text contains by chance. */
const KEY = `sk-canary-fuzz-${"0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(2)}`;
export const AUTHORIZATION = `Bearer ${KEY}`;

/** Whether a text contains enough of the key to recognize it. */
export const hasKey = (text: string): boolean => text.includes(KEY.slice(0, 20));

/** The running children. They end with the fuzzer, also if it is interrupted. */
const running = new Set<Child>();
process.once("exit", () => running.forEach((child) => void child.kill()));

const MAX_KEPT = 100_000;

export class Child {
  readonly #process: Bun.Subprocess<Buffer, "ignore", "pipe">;
  readonly #listening = Promise.withResolvers<number>();
  /** The end of standard error; if the key ever appeared there, everything since then. */
  stderr = "";

  private constructor(command: readonly string[]) {
    this.#process = Bun.spawn([...command], {
      stdin: Buffer.from(KEY),
      stdout: "ignore",
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent" },
      cwd: "/",
    });
    running.add(this);
    void this.#read();
  }

  /** Starts the command; resolves once it listens. */
  static async start(command: readonly string[]): Promise<{ child: Child; port: number }> {
    const child = new Child(command);
    return { child, port: await child.#listening.promise };
  }

  /** How it ended; undefined while it runs. */
  get end(): string | undefined {
    const { exitCode, signalCode } = this.#process;
    return exitCode === null && signalCode === null ? undefined : `${exitCode ?? signalCode}`;
  }

  /** Resolves when it has ended, or after 200 ms. */
  async perhapsEnded(): Promise<void> {
    await Promise.race([this.#process.exited, Bun.sleep(200)]);
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    running.delete(this);
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#process.stderr) {
      const before = hasKey(this.stderr) ? this.stderr : this.stderr.slice(-MAX_KEPT);
      this.stderr = before + decoder.decode(bytes, { stream: true });
      const [, port] = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.stderr) ?? [];
      if (port !== undefined) this.#listening.resolve(Number(port));
    }
    this.#listening.reject(new Error(`the proxy did not start:\n${this.stderr}`));
  }
}
