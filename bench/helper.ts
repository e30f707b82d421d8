// A program of bench/programs/ in a process of its own, which is asked one thing at a time and answers each.

import { start } from "./children.ts";

export class Helper {
  readonly #child;
  #asked = 0;
  #answer: PromiseWithResolvers<unknown> | undefined;

  constructor(program: string) {
    this.#child = start([process.execPath, `${import.meta.dir}/programs/${program}`], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
      ipc: ({ id, answer }: { id: number; answer: unknown }) => {
        // An answer that came too late is nobody's any more.
        if (id === this.#asked) this.#answer?.resolve(answer);
      },
    } as const);
    void this.#child.exited.then(() => this.#answer?.reject(new Error(`${program} ended`)));
  }

  /** Sends `message` and resolves with the answer; throws where there is none in time, or it says what went wrong. */
  async ask<Answer>(message: object, timeoutMs = 15_000): Promise<Answer> {
    const answer = (this.#answer = Promise.withResolvers<unknown>());
    const timeout = setTimeout(() => answer.reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    this.#child.send({ ...message, id: ++this.#asked });
    try {
      const received = (await answer.promise) as Answer & { error?: string };
      if (received.error !== undefined) throw new Error(received.error);
      return received;
    } finally {
      clearTimeout(timeout);
    }
  }
}
