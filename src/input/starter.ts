// What a proxy and the process that started it (`run`, or a start with --background) say to each other.

/** Set for the proxy: `run` or `background`. */
export const STARTER = "RESPONSES_API_PROXY_STARTER";
/** The parent's pid. Set by `run` and --background; else by the first start if --exit-with-parent is given. */
export const PARENT = "RESPONSES_API_PROXY_PARENT";

/** The first message from the proxy: connections are accepted. */
export type Ready = {
  port: number | undefined;
  socket: string | undefined;
  /** The client token, if there is one. */
  token: string | undefined;
  /** Which entries of the starter's environment have the key in them, by their place. */
  withKey: number[];
};

/** The last message from the proxy. */
export type Ended = {
  /** Whether it ended although nobody asked it to, and its parent had not ended. */
  unasked: boolean;
  /** What was: exchanges, refusals, time; undefined if it is in the log, or nobody wants to know. */
  totals: string | undefined;
};
