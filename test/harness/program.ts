// The program under test: the compiled binary as a child process, with its output in the message of each failure.

import { existsSync, readFileSync } from "node:fs";

import { atEnd } from "./cleanup.ts";
import { BINARY, sharedCopy } from "./copies.ts";
import { within } from "./deadline.ts";
import { Output } from "./output.ts";

export { BINARY, installedBinary, linkedBinary, temporaryDirectory } from "./copies.ts";

/**
 * What tests start unless they say otherwise. An ordinary user's program copies the file it runs from at each start if the user can read
 * it, so an ordinary tester has one that nobody can read; some tests start the other.
 */
const usualBinary = (): string => (process.getuid!() === 0 ? BINARY : sharedCopy(BINARY, 0o111));

/** A key no other text contains by chance. */
export const CANARY_KEY = `sk-canary-${"0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(2)}`;

/** An environment without the tester's variables. */
export const BARE_ENVIRONMENT = { PATH: "/usr/bin:/bin", HOME: "/nonexistent" };

/** What the program sets in the environment of its second start, without the mark. */
export const SETTINGS = {
  BUN_CONFIG_MAX_HTTP_REQUESTS: "65535",
  DO_NOT_TRACK: "1",
  BUN_JSC_thresholdForJITAfterWarmUp: "5000",
  BUN_JSC_thresholdForJITSoon: "5000",
  BUN_JSC_warmUpMarkedBlockStartAfterBlocks: "512",
};

export type Start = {
  args?: readonly string[];
  /** The bytes of standard input, or the descriptor to use as standard input. */
  input?: string | Uint8Array | number;
  env?: Record<string, string>;
  cwd?: string;
  /** The command that starts the program, e.g. ["setpriv", "--reuid=1234", …]. */
  launcher?: readonly string[];
  binary?: string;
};

export type Ended = {
  exitCode: number | null;
  signal: NodeJS.Signals | number | null;
  stdout: string;
  stderr: string;
};

/** Runs the program until it exits. Throws if that takes longer than `seconds`. */
export async function runProgram({ seconds, ...start }: Start & { seconds?: number }): Promise<Ended> {
  const child = spawn(start);
  const [stdout, stderr] = [new Output(child.stdout), new Output(child.stderr)];
  const ended = Promise.all([child.exited, stdout.done, stderr.done]);
  await within(ended, `${child.command} to end`, {
    seen: () => `${fateOf(child, stderr)}\nstandard output:\n${stdout.text}`,
    ...(seconds === undefined ? {} : { seconds }),
  });
  return { exitCode: child.exitCode, signal: child.signalCode, stdout: stdout.text, stderr: stderr.text };
}

/** Port or socket → the proxy that was started on it last. */
const proxies = new Map<number | string, Proxy>();

/** What has become of the proxy that a test started there, for a message; empty if there was none. */
export async function fateOfProxyOn(address: number | string): Promise<string> {
  return (await proxies.get(address)?.fate()) ?? "";
}

/** A proxy that accepts connections. */
export class Proxy {
  readonly #child: Child;
  readonly #output: Output;
  readonly #stdout: Output;

  private constructor(
    /** 0 if it listens on a socket only. */
    readonly port: number,
    child: Child,
    output: Output,
    args: readonly string[],
  ) {
    this.#child = child;
    this.#output = output;
    this.#stdout = new Output(child.stdout);
    const socket = args.find((arg) => arg.startsWith("--socket="))?.slice("--socket=".length);
    for (const address of [port, socket]) if (address) proxies.set(address, this);
  }

  /** Starts a proxy with the canary key; it is killed at the end of the test file if it still runs. */
  static async start(start: Start = {}): Promise<Proxy> {
    const child = spawn({ input: `${CANARY_KEY}\n`, ...start });
    const output = new Output(child.stderr);
    const line = await output.waitFor(
      /listening on (?:http:\/\/127\.0\.0\.1:(\d+)|\/)[^\n]*\n/,
      child.exited,
      () => fateOf(child, output),
    );
    return new Proxy(Number(line[1] ?? 0), child, output, start.args ?? []);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Standard error so far. */
  get stderr(): string {
    return this.#output.text;
  }

  /** Resolves once standard error matches. Throws if the program ends first. */
  waitForLine(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#output.waitFor(pattern, this.#child.exited, () => fateOf(this.#child, this.#output));
  }

  /** Returns the first line of standard output. */
  async firstOutputLine(): Promise<string> {
    const fate = (): string => fateOf(this.#child, this.#output);
    return (await this.#stdout.waitFor(/^(.*)\n/, this.#child.exited, fate))[1]!;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Describes whether it runs or how it ended, with its standard error. Waits for a proxy that is about to end. */
  async fate(): Promise<string> {
    await Promise.race([this.#child.exited.then(() => this.#output.done), Bun.sleep(1000)]);
    return fateOf(this.#child, this.#output);
  }

  /** Resolves when the program has exited or a signal has ended it. */
  async ended(): Promise<Ended> {
    const { exited } = this.#child;
    await within(Promise.all([exited, this.#output.done, this.#stdout.done]), "the proxy to end", {
      seen: () => fateOf(this.#child, this.#output),
    });
    const { exitCode, signalCode: signal } = this.#child;
    return { exitCode, signal, stdout: this.#stdout.text, stderr: this.stderr };
  }

  /** Ends it with SIGTERM. */
  stop(): Promise<Ended> {
    this.signal("SIGTERM");
    return this.ended();
  }
}

/** Whether the process waits for the key: the program has taken its name and sleeps. */
export function awaitsKey(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return /^Name:\tresponses-proxy$/m.test(status) && /^State:\tS/m.test(status);
}

/** Whether a process exists and has not ended. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const status = `/proc/${pid}/status`;
  // If /proc does not show it, a zombie counts as alive.
  return !existsSync(status) || !/^State:\s+[ZX]/m.test(readFileSync(status, "utf8"));
}

type Child = Bun.Subprocess<Bun.SpawnOptions.Writable, "pipe", "pipe"> & { command: string };

function spawn({
  args = [],
  input = "",
  env = {},
  cwd = "/",
  launcher = [],
  binary = usualBinary(),
}: Start): Child {
  const command = [...launcher, binary, ...args];
  const child = Bun.spawn(command, {
    stdin: typeof input === "string" ? Buffer.from(input) : input,
    stdout: "pipe",
    stderr: "pipe",
    env: { ...BARE_ENVIRONMENT, ...env },
    cwd,
  });
  atEnd(() => {
    child.kill("SIGKILL");
    return child.exited;
  });
  return Object.assign(child, { command: command.join(" ") });
}

/** Describes how a process ended, or that it runs, with its standard error. */
function fateOf({ pid, exitCode, signalCode }: Child, stderr: Output): string {
  const how =
    signalCode !== null
      ? `was ended by ${signalCode}`
      : exitCode !== null
        ? `ended with exit code ${exitCode}`
        : "is running";
  return `process ${pid} ${how}; standard error:\n${stderr.text}`;
}
