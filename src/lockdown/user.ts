// Which user the program runs as, and that it stays that user.

import { SystemCallError } from "../../native/ffi/libc.ts";
import {
  becomeUser,
  findGroup,
  findUser,
  readEntries,
  type User,
  userIds,
} from "../../native/process/credentials.ts";
import { isMappedUser } from "../../native/process/namespace.ts";
import type { Status } from "../../native/process/proc-status.ts";
import { causeOf, EXIT, UserError } from "../base/errors.ts";
import type { Options } from "../input/options.ts";
import type { Protection } from "./protections.ts";

/** The user that --user names; undefined without it. Throws UserError for an unknown user, for root, and if the caller is not root. */
export function userOf({ user: nameOrUid }: Options): User | undefined {
  if (nameOrUid === undefined) return undefined;
  const user = resolveUser(nameOrUid);
  if (process.geteuid!() === 0) return user;
  throw new UserError("--user requires root", EXIT.user, ["leave --user out, or start it as root"]);
}

function resolveUser(nameOrUid: string): User {
  const user = findUser(nameOrUid);
  if (user === undefined && readEntries("/etc/passwd").every(([name]) => name === "")) {
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

/** The options with numbers in place of names: the second start looks nothing up. Throws UserError for an unknown user or group. */
export function withNumbers(options: Options): Options {
  const userId = (name: string): string => {
    const user = findUser(name);
    if (user === undefined) throw unknown(`--allow-user '${name}' is no user`);
    // The kernel says of every client that is not mapped that it is the same user (user_namespaces(7)).
    if (!isMappedUser(user.uid))
      throw new UserError(
        `--allow-user '${name}' is user ${user.uid}, whom this user namespace does not map`,
        EXIT.usage,
        ["name a user that /proc/self/uid_map has, or start it outside the namespace"],
      );
    return String(user.uid);
  };
  const groupId = (flag: string, name: string | undefined): string | undefined => {
    if (name === undefined) return undefined;
    const gid = findGroup(name);
    if (gid === undefined) throw unknown(`--${flag} '${name}' is no group`);
    return String(gid);
  };
  return Object.freeze({
    ...options,
    allowUsers: options.allowUsers.map(userId),
    clientTokenGroup: groupId("client-token-group", options.clientTokenGroup),
    socketGroup: groupId("socket-group", options.socketGroup),
  });
}

function unknown(message: string): UserError {
  return new UserError(message, EXIT.usage, ["give a name that getent(1) knows, or a number"]);
}

/** Becomes the user for good. Throws UserError. */
export function becomeOrRefuse(user: User): void {
  try {
    becomeUser(user);
  } catch (error) {
    const cause = error instanceof SystemCallError ? error.message : causeOf(error);
    throw new UserError(`cannot become user ${user.uid} (${cause})`, EXIT.user, [
      "this requires CAP_SETUID, CAP_SETGID and CAP_SETPCAP, which a container may have taken away",
    ]);
  }
}

/** All four user IDs must be the one wanted (credentials(7)). Throws UserError. */
export function verifyUser({ user }: Options, status: Status): Protection {
  const [uid, ...others] = userIds(status);
  const wanted = user === undefined ? uid : resolveUser(user).uid;
  if (uid !== wanted || others.some((other) => other !== uid))
    throw new UserError(`the process is not user ${wanted} for good`, EXIT.user);
  return { id: "user", held: uid === 0 ? "uid 0 (--user makes it another)" : `uid ${uid}` };
}
