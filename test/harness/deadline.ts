// Waiting with an end: what does not happen in time is an error that says what was waited for and what was seen so far.

/** How long a test waits unless it says otherwise. What is waited for takes well under a second on a quiet machine. */
const SECONDS = 10;

export type Patience = {
  /** Given up after this; more than the usual 10 only where the thing waited for takes that long by nature. */
  seconds?: number;
  /** What there was so far, for the message. */
  seen?: () => string;
};

/** The promise's value, or an error if it takes too long. */
export async function within<T>(promise: Promise<T>, what: string, patience: Patience = {}): Promise<T> {
  const { seconds = SECONDS, seen } = patience;
  const tooLate = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const soFar = seen === undefined ? "" : `; seen so far:\n${seen()}`;
    tooLate.reject(new Error(`waited ${seconds} s for ${what}${soFar}`));
  }, 1000 * seconds);
  try {
    return await Promise.race([promise, tooLate.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until `holds` returns something true, and returns that. */
export async function until<T>(
  holds: () => T | Promise<T>,
  what: string,
  patience: Patience = {},
): Promise<T> {
  let isOver = false;
  const asking = async (): Promise<T> => {
    for (;;) {
      const value = await holds();
      if (value || isOver) return value;
      await Bun.sleep(2);
    }
  };
  try {
    return await within(asking(), what, patience);
  } finally {
    isOver = true;
  }
}
