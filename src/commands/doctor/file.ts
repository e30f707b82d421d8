// Whether the program's own file is one that its user can execute and neither read nor replace.

import { accessSync, constants, lstatSync, type Stats } from "node:fs";

import { readLink } from "../../../native/files/files.ts";
import { causeOf } from "../../base/errors.ts";
import { dirname } from "../../base/paths.ts";
import { EXECUTABLE_NEEDED } from "../../lockdown/reexec.ts";
import { type Check, fatal, ok, strictly, warning } from "./checks.ts";

const SELF = "/proc/self/exe";
const INSTALL =
  "install -o root -g GROUP -m 0710 it, with a group that its user is in, in a directory that is root's, such as /usr/local/bin";

/** Whether this user can read the file: then the kernel lets others of that user look into the process it starts as. */
export function isReadable(): boolean {
  return may("R_OK");
}

/** `startedByRoot`: nobody but root can be there first, so a file that can be read opens nothing. */
export function checkFile({ startedByRoot }: { startedByRoot: boolean }): Check[] {
  const path = readLink(SELF);
  const isRoot = process.geteuid!() === 0;
  return [
    may("X_OK")
      ? ok("file-executable", path)
      : fatal("file-executable", `this user cannot execute ${path}`, EXECUTABLE_NEEDED),
    describeReadable(isRoot, startedByRoot),
    isRoot || !may("W_OK")
      ? ok("file-writable", isRoot ? "by root, as every file" : "not by this user")
      : warning("file-writable", "by this user, whose every process can replace it", INSTALL),
    describeOwners(path),
  ];
}

function describeReadable(isRoot: boolean, startedByRoot: boolean): Check {
  if (isRoot) return ok("file-readable", "by root, as every file");
  if (!isReadable()) return ok("file-readable", "not by this user: the process is closed from its start");
  if (startedByRoot)
    return ok("file-readable", "by this user; but root starts it, and copies it out of reach");
  return strictly(
    "file-readable",
    "by this user: a process of the same user that is there before the start can take the key's pipe over",
    INSTALL,
  );
}

/** Whoever owns the file or a directory on the way to it, or may write there, decides what the program is. */
function describeOwners(path: string): Check {
  const others: string[] = [];
  const unseen: string[] = [];
  for (let step = path; ; step = dirname(step)) {
    const found = look(step);
    // Removed since it was started.
    if (found === undefined) return warning("file-owner", `${step} is not there any more`, INSTALL);
    if (found === "out of sight") {
      unseen.push(step);
      continue;
    }
    const mode = found.mode & 0o7777;
    // In a sticky directory only the owner of a file may replace it (inode(7)).
    const isOpen = (mode & 0o022) !== 0 && !(found.isDirectory() && (mode & 0o1000) !== 0);
    if (found.uid !== 0) others.push(`${step} is user ${found.uid}'s`);
    else if (isOpen) others.push(`${step} has mode ${mode.toString(8).padStart(4, "0")}`);
    if (step === "/") break;
  }
  if (others.length === 0 && unseen.length > 0)
    return warning("file-owner", `this user cannot see whose ${unseen.join(", ")} is`, INSTALL);
  if (others.length === 0) return ok("file-owner", "the file and its directories are root's alone");
  return warning("file-owner", `others than root can replace it: ${others.join(", ")}`, INSTALL);
}

/** Undefined if nothing is there; out of sight if a directory on the way cannot be searched. */
function look(path: string): Stats | "out of sight" | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (causeOf(error) === "EACCES") return "out of sight";
    throw error;
  }
}

function may(what: "R_OK" | "W_OK" | "X_OK"): boolean {
  try {
    accessSync(SELF, constants[what]);
    return true;
  } catch {
    return false;
  }
}
