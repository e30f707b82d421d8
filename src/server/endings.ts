// What asks the program to end: signals, its parent's end, the end of its lifetime, GET /shutdown.

/** Timers take at most 2^31 - 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export function endAfter(ms: number, end: () => void): void {
  if (ms <= MAX_TIMER_MS) setTimeout(end, ms).unref();
  else setTimeout(() => endAfter(ms - MAX_TIMER_MS, end), MAX_TIMER_MS).unref();
}

export const PARENT_ENDED = "the parent's end";
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
/** What can ask the program to end. */
type Cause = (typeof SIGNALS)[number] | "GET /shutdown" | "--lifetime" | typeof PARENT_ENDED;

export type Endings = {
  end: (cause: Cause, inFlight?: number) => void;
  /** Resolves at the first signal, GET /shutdown or the end of --lifetime; GET /shutdown knows how many other exchanges are in flight. */
  asked: Promise<{ cause: Cause; inFlight: number | undefined }>;
  /** Resolves at a signal after that. */
  insisted: Promise<void>;
  /** What has asked the program to end; undefined if nothing has. */
  signal: () => Cause | undefined;
};

/** SIGTERM, SIGINT and SIGHUP end the program; a second one ends it at once. */
export function endings(): Endings {
  const asked = Promise.withResolvers<{ cause: Cause; inFlight: number | undefined }>();
  const insisted = Promise.withResolvers<void>();
  let first: Cause | undefined;
  const end: Endings["end"] = (cause, inFlight) => {
    first ??= cause;
    asked.resolve({ cause, inFlight });
  };
  for (const signal of SIGNALS)
    process.on(signal, () => (first === undefined ? end(signal) : insisted.resolve()));
  return { end, asked: asked.promise, insisted: insisted.promise, signal: () => first };
}
