// Waiting with a limit: the error says what was waited for and what was seen so far.

/** How long a test waits by default. What it waits for takes well under a second on a quiet machine. */
const SECONDS = 10;

type Patience = {
  /** The limit; above the usual 10 only for things that take that long by nature. */
  seconds?: number;
  /** What was seen so far, for the message. */
  seen?: () => string;
};

/** Returns the promise's value. Throws if it takes too long. */
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

/** Calls `holds` repeatedly until it returns something truthy, and returns that. Throws if it takes too long. */
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
