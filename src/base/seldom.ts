// How often something is said that could be said at each request.

/** Returns a function that returns true at its first call, and then at the first one that comes `ms` or more after it last returned true. */
export function onceIn(ms: number): () => boolean {
  let saidAt = -Infinity;
  return () => {
    const now = performance.now();
    if (now - saidAt < ms) return false;
    saidAt = now;
    return true;
  };
}
