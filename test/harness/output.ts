// Keeps what a child process writes to a pipe, and waits for a line of it.

import { within } from "./deadline.ts";

export class Output {
  text = "";
  /** Resolves when the other end is closed. */
  readonly done: Promise<void>;
  readonly #lookers = new Set<() => void>();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.done = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      this.text += decoder.decode(chunk, { stream: true });
      for (const look of this.#lookers) look();
    }
  }

  /** Resolves once `pattern` matches. Throws if it takes too long, or with what `fate` returns if the process ends first. */
  async waitFor(
    pattern: RegExp,
    exited: Promise<unknown>,
    fate: () => string,
    seconds?: number,
  ): Promise<RegExpExecArray> {
    const found = Promise.withResolvers<RegExpExecArray>();
    const look = (): void => {
      const match = pattern.exec(this.text);
      if (match !== null) found.resolve(match);
    };
    this.#lookers.add(look);
    look();
    const gone = exited
      .then(() => this.done)
      .then(() => {
        look();
        found.reject(new Error(`${pattern} did not appear: ${fate()}`));
      });
    gone.catch(() => {});
    try {
      return await within(found.promise, `the line ${pattern}`, {
        seen: fate,
        ...(seconds === undefined ? {} : { seconds }),
      });
    } finally {
      this.#lookers.delete(look);
    }
  }
}
