// Who the proxy would run as, and whether that user is as good as root.

import { entriesOf } from "../../../native/process/credentials.ts";
import { isOpenToNamespaceOwner } from "../../../native/process/namespace.ts";
import { NAMESPACE_GAP } from "../../lockdown/harden.ts";
import { type Check, ok, strictly, warning } from "./checks.ts";
import { isReadable } from "./file.ts";

/** Groups whose members become root without asking anybody, or can be made to (sudoers(5), Docker's and LXD's documentation). */
const AS_GOOD_AS_ROOT = ["sudo", "wheel", "admin", "docker", "lxd", "incus-admin", "disk"];
const CAP_IPC_LOCK = 1n << 14n;

/** `changed` is what went wrong in becoming that user. */
export function checkUser(start: {
  isRoot: boolean;
  user: string | undefined;
  capabilities: bigint;
  changed: Check | undefined;
}): Check[] {
  const { isRoot, user, capabilities, changed } = start;
  const uid = process.geteuid!();
  return [
    changed ?? describeUser(uid, isRoot && user !== undefined),
    ...(uid === 0 ? [] : [describeWayToRoot(uid)]),
    ok("capabilities", describeCapabilities(capabilities, isRoot && user !== undefined)),
    describeNamespace(),
  ];
}

/** Root's program runs from its own file; another user's from a copy of its own, if that user can read the file. */
function describeNamespace(): Check {
  return isOpenToNamespaceOwner({ isReadable: isReadable() })
    ? strictly("user-namespace", NAMESPACE_GAP.message, NAMESPACE_GAP.hints[0])
    : ok("user-namespace", "none whose owner can read the proxy's memory");
}

function describeUser(uid: number, byRoot: boolean): Check {
  if (uid === 0) return warning("user", "root", "--user NAME|UID runs the proxy as another user");
  const name = nameOf(uid);
  const numbered = name === undefined ? `user ${uid}` : `user ${uid} (${name})`;
  return ok("user", byRoot ? `${numbered}, started by root` : numbered);
}

/** Of the user, not of this process alone: it is the user's other processes that the key is kept from. */
function describeWayToRoot(uid: number): Check {
  const name = nameOf(uid);
  const ours = process.getgroups!();
  const groups = entriesOf("/etc/group")
    .filter(([group, , gid, members]) => {
      const isMember =
        (name !== undefined && members?.split(",").includes(name)) || ours.includes(Number(gid));
      return isMember && AS_GOOD_AS_ROOT.includes(group!);
    })
    .map(([group]) => group!);
  if (groups.length === 0) return ok("become-root", "in no group that is as good as root");
  return warning(
    "become-root",
    `member of ${groups.join(", ")}: may become root, who reads every key`,
    "run the proxy as a user that is in no such group, and take sudo from those it is for",
  );
}

function describeCapabilities(capabilities: bigint, byRoot: boolean): string {
  if (capabilities === 0n) return "none";
  const lock = (capabilities & CAP_IPC_LOCK) !== 0n;
  if (capabilities === CAP_IPC_LOCK) return "CAP_IPC_LOCK and no other";
  const count = capabilities.toString(2).replaceAll("0", "").length;
  const before = byRoot ? `${count} of root's` : String(count);
  return `${before}, all dropped before the key is read${lock ? " but CAP_IPC_LOCK" : "; CAP_IPC_LOCK is not among them"}`;
}

function nameOf(uid: number): string | undefined {
  return entriesOf("/etc/passwd").find(([, , number]) => number === String(uid))?.[0];
}
