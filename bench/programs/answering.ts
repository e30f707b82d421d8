// The helper's side of helper.ts: one question at a time, one answer each; it ends with the process that asks.

type Question = { do: string; id: number };

/** Answers each question with what the handler of its name resolves with, or with what went wrong. */
export function answerQuestions(
  handlers: Record<string, (question: never) => object | Promise<object>>,
): void {
  process.on("message", async (question: Question) => {
    const { id } = question;
    try {
      process.send!({ id, answer: await handlers[question.do]!(question as never) });
    } catch (error) {
      process.send!({ id, answer: { error: String(error) } });
    }
  });
  process.on("disconnect", () => process.exit(0));
}

/** Milliseconds on a clock that all processes of the machine share, with a resolution of microseconds. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
