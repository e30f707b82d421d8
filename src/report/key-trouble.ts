// What the upstream says about the key: 401, 403 and 429. The client hears it; whoever runs the proxy should, too.
//
// The body is left alone: the error in it may quote the key, and reading it would hold the answer back.

import { onceIn } from "../base/seldom.ts";
import * as terminal from "../base/terminal.ts";

const WARN_EVERY_MS = 60_000;

const TROUBLES: Record<number, { meaning: (held: string) => string; isTimeToWarn: () => boolean }> = {
  401: {
    meaning: (held) => `the upstream does not accept the ${held}`,
    isTimeToWarn: onceIn(WARN_EVERY_MS),
  },
  403: {
    meaning: (held) => `the upstream does not allow this with the ${held}`,
    isTimeToWarn: onceIn(WARN_EVERY_MS),
  },
  429: { meaning: () => "the upstream's limit is reached", isTimeToWarn: onceIn(WARN_EVERY_MS) },
};

/** Warns if the status is one of these, once a minute for each. `held` is what the proxy holds, in words. */
export function tellTrouble(status: number, held: string): void {
  const trouble = TROUBLES[status];
  if (trouble?.isTimeToWarn()) terminal.warning(`${trouble.meaning(held)} (${status})`);
}
