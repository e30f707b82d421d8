// Closes connections that wait for a next request. Bun's own clock cannot: stopping it for a request stops it for its connection (Bun 1.4.5).

/**
 * Connections are closed when nobody has asked for anything for this long. closeIdleConnections() closes all that wait, and on a busy proxy
 * that races with requests which are just being sent.
 */
const QUIET_MS = 45_000;
/** And after this long on a proxy that is never quiet. */
const BUSY_MS = 600_000;
const LOOK_EVERY_MS = 15_000;

/** What a server knows of the requests that pass. */
export type Quiet = {
  /** To be called for each. */
  noteRequest: () => void;
  /** How long ago the last one began. */
  askedMsAgo: () => number;
};

/** Looks after the server's idle connections for as long as the process lives. */
export function closeWhenIdle(closeIdle: () => void): Quiet {
  let askedAt = performance.now();
  let closedAt = askedAt;
  const look = (): void => {
    const now = performance.now();
    if (now - askedAt < QUIET_MS && now - closedAt < BUSY_MS) return;
    closedAt = now;
    closeIdle();
  };
  setInterval(look, LOOK_EVERY_MS).unref();
  return {
    noteRequest: () => {
      askedAt = performance.now();
    },
    askedMsAgo: () => performance.now() - askedAt,
  };
}
