// Why the proxy cannot listen on its port, for a person. Pure.

import { UserError } from "../base/errors.ts";

const REASONS: Record<string, string> = {
  EADDRINUSE: "another program has that port",
  EACCES: "an ordinary user may not have that port",
  EADDRNOTAVAIL: "the interface lo does not have that address",
};

/** `cause` is the system's name for the reason. */
export function cannotListen(port: number, cause: string): UserError {
  const reason = cause in REASONS ? `: ${REASONS[cause]}` : "";
  return new UserError(
    `cannot listen on 127.0.0.1:${port}${reason} (${cause})`,
    undefined,
    hintsFor(port, cause),
  );
}

function hintsFor(port: number, cause: string): string[] {
  if (cause === "EADDRNOTAVAIL")
    return ["give the loopback interface its address: ip addr add 127.0.0.1/8 dev lo"];
  return port === 0 ? [] : ["leave --port out to get a free port, and read it from the --server-info file"];
}
