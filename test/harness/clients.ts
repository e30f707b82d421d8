// Clients that are other users, each a process of its own (client-process.ts). As root.

import { atEnd } from "./cleanup.ts";
import type { Commands } from "./client-process.ts";
import { within } from "./deadline.ts";
import { type Answer, parseAnswer } from "./wire.ts";

/** Where a client's end is to be: by default on a free port of 127.0.0.1, with a socket for IPv4. */
type From = { address?: string; port?: number; mapped?: boolean };

/** User → the process of that user that all tests of a file share. */
const shared = new Map<number, Client>();

export class Client {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;

  private constructor(uid: number) {
    this.#child = Bun.spawn([process.execPath, `${import.meta.dir}/client-process.ts`, String(uid)], {
      stdio: ["pipe", "pipe", "inherit"],
      cwd: "/",
    });
    atEnd(() => {
      this.#child.kill("SIGKILL");
      return this.#child.exited;
    });
    this.#lines = linesOf(this.#child.stdout);
  }

  /** A process of that user. */
  static as(uid: number): Client {
    return new Client(uid);
  }

  /** The process of that user that all tests of a file share. It must stay that user. */
  static shared(uid: number): Client {
    const client = shared.get(uid) ?? Client.as(uid);
    shared.set(uid, client);
    return client;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Has the process do it; throws what the system call that failed says. */
  async do<Name extends keyof Commands>(
    name: Name,
    ...args: Parameters<Commands[Name]>
  ): Promise<ReturnType<Commands[Name]>> {
    this.#child.stdin.write(`${JSON.stringify([name, ...args])}\n`);
    await this.#child.stdin.flush();
    const { value: line } = await within(this.#lines.next(), `the client to ${name}`);
    const answer = JSON.parse(line) as { value: ReturnType<Commands[Name]>; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  /** Opens a connection to a port of 127.0.0.1. */
  async open(port: number, from: From = {}): Promise<ClientSocket> {
    const opened = await this.do("open", port, from);
    return new ClientSocket(this, opened.fd, opened.port);
  }

  /** Takes over the other client's connection. */
  async take({ client, fd, port }: ClientSocket): Promise<ClientSocket> {
    return new ClientSocket(this, await this.do("take", client.pid, fd), port);
  }
}

export class ClientSocket {
  constructor(
    readonly client: Client,
    readonly fd: number,
    /** The client's. */
    readonly port: number,
  ) {}

  /** Sends a request and returns the whole answer. */
  async ask(request: string): Promise<Answer> {
    await this.send(request);
    return this.answer();
  }

  send(bytes: string): Promise<number> {
    return this.client.do("send", this.fd, bytes);
  }

  async answer(): Promise<Answer> {
    let received = "";
    for (;;) {
      const more = await this.client.do("receive", this.fd);
      received += more;
      const answer = parseAnswer(received, more === "");
      if (answer !== undefined) return answer;
      if (more === "") throw new Error(`the connection ended after ${JSON.stringify(received)}`);
    }
  }

  endSending(): Promise<number> {
    return this.client.do("endSending", this.fd);
  }

  close(): Promise<number> {
    return this.client.do("close", this.fd);
  }

  reset(): Promise<number> {
    return this.client.do("reset", this.fd);
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + Buffer.from(bytes).toString()).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
