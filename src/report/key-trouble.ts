// What the upstream says about the key: 401, 403 and 429. The client hears it; whoever runs the proxy should, too.
//
// The body is left alone: the error in it may quote the key, and reading it would hold the answer back.

import * as terminal from "../base/terminal.ts";

const WARN_EVERY_MS = 60_000;

const MEANING: Record<number, string> = {
  401: "the upstream does not accept the key",
  403: "the upstream does not allow this with the key",
  429: "the upstream's limit is reached",
};

const warnedAt = new Map<number, number>();

/** Warns if the status is one of these, once a minute for each. */
export function tellTrouble(status: number): void {
  const meaning = MEANING[status];
  if (meaning === undefined || performance.now() - (warnedAt.get(status) ?? -Infinity) < WARN_EVERY_MS)
    return;
  warnedAt.set(status, performance.now());
  terminal.warning(`${meaning} (${status})`);
}
