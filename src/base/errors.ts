// The two kinds of errors, a person's and a bug, and the exit codes.

/** Every exit code of the program, as docs/commands.md lists them. */
export const EXIT = {
  /** It was asked to end, and ended. */
  clean: 0,
  /** It cannot start: key, port, server-info file. Of a subcommand: no. */
  cannotStart: 1,
  /** The command line is wrong. */
  usage: 2,
  /** It cannot start again with a clean environment, or was not started with one. */
  reexec: 3,
  /** The key cannot be protected: the message says what does not hold. */
  unprotected: 4,
  /** It cannot become the user that --user names. */
  user: 10,
  /** A protection does not hold, and --strict was given. */
  strict: 11,
  /** `run`: COMMAND is there, and cannot be executed; as shells have it. */
  notExecutable: 126,
  /** `run`: there is no COMMAND. */
  notFound: 127,
  /** A bug in the program. */
  internal: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What to do about a key that did not come, or came another way. */
export const PIPE_IT_IN =
  "pipe the key in: printenv OPENAI_API_KEY | env -u OPENAI_API_KEY responses-api-proxy";

/** What to do if GitHub gives a workflow no token. */
export const ID_TOKEN_PERMISSION = "in GitHub Actions the job needs permissions: id-token: write";

/** An error for a person: lower case, no full stop, nothing from standard input, a header or a body. */
export class UserError extends Error {
  constructor(
    message: string,
    readonly exitCode: ExitCode = EXIT.cannotStart,
    /** What the person can do about it, each on a line of its own. */
    readonly hints: readonly string[] = [],
    /** Other reasons why the program cannot start, each shown as an error of its own. */
    readonly others: readonly UserError[] = [],
  ) {
    super(message);
    this.name = "UserError";
  }
}

/** The system's name for what went wrong (ENOENT, ECONNREFUSED, …), or the error's class. Never its message, which may quote anything. */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
