// A program of bench/programs/ in a process of its own, which is asked one question at a time: both sides.

import { start } from "../machine/processes.ts";

export class Helper {
  readonly #child;
  #asked = 0;
  #answer: PromiseWithResolvers<unknown> | undefined;

  constructor(program: string) {
    this.#child = start([process.execPath, `${import.meta.dir}/${program}`], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
      ipc: ({ id, answer }: { id: number; answer: unknown }) => {
        // An answer that comes too late is for an earlier question.
        if (id === this.#asked) this.#answer?.resolve(answer);
      },
    } as const);
    void this.#child.exited.then(() => this.#answer?.reject(new Error(`${program} exited`)));
  }

  /** Asks for `question.do` and returns the answer. Throws if there is none in time, or with what went wrong. */
  async ask<Answer>(
    question: { do: string; [parameter: string]: unknown },
    timeoutMs = 15_000,
  ): Promise<Answer> {
    const answer = (this.#answer = Promise.withResolvers<unknown>());
    const timeout = setTimeout(() => answer.reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    this.#child.send({ ...question, id: ++this.#asked });
    try {
      const received = (await answer.promise) as Answer & { error?: string };
      if (received.error !== undefined) throw new Error(received.error);
      return received;
    } finally {
      clearTimeout(timeout);
    }
  }
}

type Question = { do: string; id: number };

/** In the helper: answers each question with what the handler of its name returns. Exits with the process that asks. */
export function answerQuestions(
  handlers: Record<string, (question: never) => object | Promise<object>>,
): void {
  process.on("message", async (question: Question) => {
    const { id } = question;
    try {
      process.send!({ id, answer: await handlers[question.do]!(question as never) });
    } catch (error) {
      process.send!({ id, answer: { error: (error as Error).message } });
    }
  });
  process.on("disconnect", () => process.exit(0));
}

/** Milliseconds on a clock that all processes of the machine share, with a resolution of microseconds. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
