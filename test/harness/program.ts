// The program under test: the compiled binary as a child process, and what it said when something is not as expected.

import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

import { atEnd } from "./cleanup.ts";

/** What `npm run build` makes; `verify` builds before it tests. */
export const BINARY = resolve(import.meta.dir, "../../dist/responses-api-proxy");
if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: npm run build`);

/** A key no other text contains by chance. */
export const CANARY_KEY = `sk-canary-${"0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(2)}`;

/** An environment with nothing of the tester's in it. */
export const BARE_ENVIRONMENT = { PATH: "/usr/bin:/bin", HOME: "/nonexistent" };

export type Start = {
  args?: readonly string[];
  /** What is piped in, as it is; or the descriptor that is to be standard input. */
  input?: string | Uint8Array | number;
  env?: Record<string, string>;
  cwd?: string;
  /** What starts the program, e.g. ["setpriv", "--reuid=1234", …]. */
  launcher?: readonly string[];
  binary?: string;
};

export type Ended = {
  exitCode: number | null;
  signal: NodeJS.Signals | number | null;
  stdout: string;
  stderr: string;
};

/** Runs the program to its end. */
export async function runProgram(start: Start): Promise<Ended> {
  const child = spawn(start);
  const stdout = new Response(child.stdout).text();
  const stderr = new Response(child.stderr).text();
  await child.exited;
  return { exitCode: child.exitCode, signal: child.signalCode, stdout: await stdout, stderr: await stderr };
}

/** A proxy that accepts connections. */
export class Proxy {
  readonly #child: ReturnType<typeof spawn>;
  readonly #output: Collected;
  #outputIsRead = false;

  private constructor(
    readonly port: number,
    child: ReturnType<typeof spawn>,
    output: Collected,
  ) {
    this.#child = child;
    this.#output = output;
  }

  /** Starts one with the canary key; it is killed at the end of the test file if it is still there. */
  static async start(start: Start = {}): Promise<Proxy> {
    const child = spawn({ input: `${CANARY_KEY}\n`, ...start });
    const output = collect(child.stderr);
    const line = await output.waitFor(/listening on http:\/\/127\.0\.0\.1:(\d+)[^\n]*\n/, () => child.exited);
    return new Proxy(Number(line[1]), child, output);
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

  /** Resolves once standard error has something that matches; throws if the program ends first. */
  waitForLine(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#output.waitFor(pattern, () => this.#child.exited);
  }

  /** The first line on standard output. Nothing reads from there any more afterwards. */
  async firstOutputLine(): Promise<string> {
    this.#outputIsRead = true;
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("\n")) break;
    }
    return text.split("\n")[0]!;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves when the program has ended by itself or by a signal. */
  async ended(): Promise<Ended> {
    await this.#child.exited;
    const stdout = this.#outputIsRead ? "" : await new Response(this.#child.stdout).text();
    await this.#output.done;
    return { exitCode: this.#child.exitCode, signal: this.#child.signalCode, stdout, stderr: this.stderr };
  }

  /** Ends it with SIGTERM. */
  stop(): Promise<Ended> {
    this.signal("SIGTERM");
    return this.ended();
  }
}

/** A directory that is gone after the test file, open to every user. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync("/tmp/responses-api-proxy-test-");
  chmodSync(directory, 0o755);
  atEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The binary where another user can reach it, with the given mode. */
export function installedBinary(mode: number): string {
  const path = join(temporaryDirectory(), "responses-api-proxy");
  copyFileSync(BINARY, path);
  chmodSync(path, mode);
  return path;
}

/** Whether a process is there, running or not yet waited for. */
export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

function spawn({ args = [], input = "", env = {}, cwd = "/", launcher = [], binary = BINARY }: Start) {
  const child = Bun.spawn([...launcher, binary, ...args], {
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
  return child;
}

type Collected = {
  text: string;
  done: Promise<void>;
  waitFor: (pattern: RegExp, ended: () => Promise<unknown>) => Promise<RegExpExecArray>;
};

function collect(stream: ReadableStream<Uint8Array>): Collected {
  const waiting = new Set<() => void>();
  const collected: Collected = { text: "", done: read(), waitFor };
  async function read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      collected.text += decoder.decode(chunk, { stream: true });
      for (const look of waiting) look();
    }
    for (const look of waiting) look();
  }
  async function waitFor(pattern: RegExp, ended: () => Promise<unknown>): Promise<RegExpExecArray> {
    const found = Promise.withResolvers<RegExpExecArray>();
    const look = (): void => {
      const match = pattern.exec(collected.text);
      if (match !== null) found.resolve(match);
    };
    waiting.add(look);
    look();
    const gone = ended().then(() => collected.done);
    const first = await Promise.race([found.promise, gone.then(() => undefined)]);
    waiting.delete(look);
    if (first !== undefined) return first;
    const match = pattern.exec(collected.text);
    if (match !== null) return match;
    throw new Error(`the program ended before ${pattern} appeared; standard error:\n${collected.text}`);
  }
  return collected;
}
