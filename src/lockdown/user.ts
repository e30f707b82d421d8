// Which user the program is to run as.

import { entriesOf, findUser, type User } from "../../native/process/credentials.ts";
import { EXIT, UserError } from "../base/errors.ts";

/** The user that --user names. Throws UserError for a name nobody has, and for root. */
export function resolveUser(nameOrUid: string): User {
  const user = findUser(nameOrUid);
  if (user === undefined && entriesOf("/etc/passwd").every(([name]) => name === "")) {
    throw new UserError(`--user '${nameOrUid}' cannot be looked up: /etc/passwd has no users`, EXIT.usage, [
      "give the number of a user, e.g. --user=61234",
    ]);
  }
  if (user === undefined) {
    throw new UserError(`--user '${nameOrUid}' is no user, or its number is a group's`, EXIT.usage, [
      "give the number of a user that nobody is, e.g. --user=61234",
    ]);
  }
  if (user.uid === 0)
    throw new UserError("--user must not be root", EXIT.usage, ["leave --user out to stay root"]);
  return user;
}

/** Throws UserError where the process has no right to become another user. */
export function refuseWithoutRoot(): void {
  if (process.geteuid!() === 0) return;
  throw new UserError("--user takes root", EXIT.user, ["leave --user out, or start it as root"]);
}
