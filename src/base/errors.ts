// What can go wrong: the error that is meant for a person, the exit codes, and the error bodies that clients get.

import { name, version } from "../../package.json" with { type: "json" };

/** Every exit code of the program, as the README lists them. */
export const EXIT = {
  /** Asked to end, and ended. */
  clean: 0,
  /** Could not start: key, port, server-info file, platform. Of a subcommand: the answer is no. */
  cannotStart: 1,
  /** The command line is wrong. */
  usage: 2,
  /** Could not start again with a clean environment, or was not started clean. */
  rebirth: 3,
  /** A debugger is attached. */
  traced: 4,
  /** The process could not be made undumpable. */
  dumpable: 5,
  /** no_new_privs could not be set. */
  newPrivileges: 6,
  /** Core dumps could not be forbidden. */
  coreDumps: 7,
  /** The limit on open files is too low, or could not be raised. */
  fileLimit: 8,
  /** Memory could not be locked, and --require-mlock was given. */
  memoryLock: 9,
  /** Could not become the user that --user names. */
  user: 10,
  /** A protection does not hold, and --strict was given. */
  strict: 11,
  /** A bug of ours. */
  internal: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What to do about a key that did not come, or came another way. */
export const PIPE_IT_IN =
  "pipe the key in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy";

/** An error to be shown to a person as it is: lower case, no full stop, nothing from standard input, a header or a body. */
export class UserError extends Error {
  constructor(
    message: string,
    readonly exitCode: ExitCode = EXIT.cannotStart,
    /** What the person can do about it, each on a line of its own. */
    readonly hints: readonly string[] = [],
    /** What else would have kept the program from starting, each shown as an error of its own. */
    readonly others: readonly UserError[] = [],
  ) {
    super(message);
    this.name = "UserError";
  }
}

/** The system's name for what went wrong (ENOENT, ECONNREFUSED, …), or the error's class: never its message, which may quote anything. */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** `code` in the error bodies of ours; clients may rely on these names. */
export type ErrorCode =
  | "route_refused"
  | "host_refused"
  | "browser_refused"
  | "length_refused"
  | "upstream_unreachable"
  | "upstream_certificate"
  | "upstream_tls"
  | "upstream_broke_off"
  | "upstream_unreadable"
  | "upstream_timeout"
  | "upstream_failed"
  | "overloaded"
  | "internal_error";

/** The Server field (RFC 9110 §10.2.4) of the errors that are our own, and of nothing passed on: how `status` and `wait` know the proxy. */
export const SERVER = `${name}/${version}`;

/**
 * An answer of our own, in the shape that OpenAI's SDKs show to their users.
 * https://platform.openai.com/docs/guides/error-codes
 */
export function errorResponse(status: number, code: ErrorCode, message: string): Response {
  const headers = { "content-type": "application/json", server: SERVER };
  return new Response(errorBody(code, message), { status, headers });
}

/** The body of such an answer. */
export function errorBody(code: ErrorCode, message: string): string {
  return JSON.stringify({ error: { message, type: "proxy_error", param: null, code } });
}
