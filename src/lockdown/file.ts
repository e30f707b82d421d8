// What follows from the program's own file: whether the kernel closed the process to others from its first instruction, and who can replace it.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { Directory } from "../../native/files/directory.ts";
import { AT_FDCWD, close, O_PATH, openAt, readLink, statusOf } from "../../native/files/files.ts";
import { runsFromCopy } from "../../native/process/image.ts";
import { isReadableByNamespaceOwner } from "../../native/process/namespace.ts";
import { causeOf } from "../base/errors.ts";
import { dirname } from "../base/paths.ts";
import { strangerAt } from "../files/owners.ts";
import { INSTALL, type Protection } from "./protections.ts";

const SELF = "/proc/self/exe";

/** `wasDumpable`: other processes of this user could look into this one when it began (execve(2): its file can be read). */
export function checkFile(start: { wasDumpable: boolean; startedByRoot: boolean }): Protection[] {
  const readable = checkReadable(start);
  // If the file is readable, its owners are not looked at: the recommended installation mends both.
  return readable.gap === undefined && !runsFromCopy() ? [readable, checkOwners(readLink(SELF))] : [readable];
}

function checkReadable({
  wasDumpable,
  startedByRoot,
}: {
  wasDumpable: boolean;
  startedByRoot: boolean;
}): Protection {
  const id = "file-readable";
  const open = "during the start, other processes of this user could read this process's memory";
  const pipe = "could have taken over the pipe that the key comes through";
  if (!wasDumpable) {
    const held = "not dumpable from exec";
    // A copy runs because the file can be read, so the first start was open for a moment, unless root started it.
    if (!runsFromCopy() || startedByRoot) return { id, held };
    const message = `during the start, other processes of this user ${pipe}: they can read the program's file`;
    return { id, held, gap: { message, hints: [INSTALL] } };
  }
  const held = "not dumpable";
  if (process.geteuid!() === 0) return { id, held };
  // No copy could be executed, so neither start was closed.
  if (startedByRoot)
    return {
      id,
      held,
      gap: { message: open, hints: [INSTALL, "or allow executable memory files (vm.memfd_noexec=0)"] },
    };
  return { id, held, gap: { message: `${open}, or ${pipe}`, hints: [INSTALL] } };
}

/** A user who owns the file or a directory on the way to it, or may write there, decides what the next start executes. */
function checkOwners(path: string): Protection {
  const id = "file-owner";
  const found: string[] = [];
  const look = (step: string, status: Parameters<typeof strangerAt>[0]): void => {
    const stranger = strangerAt(status, [0]);
    if (stranger === "others") found.push(`others may write to ${step}`);
    else if (stranger !== undefined) found.push(`${step} is user ${stranger}'s`);
  };
  try {
    Directory.open(dirname(path), look).close();
    const fd = openAt(AT_FDCWD, SELF, O_PATH);
    look(path, statusOf(fd));
    close(fd);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    // It was removed, or the user may not search a directory on the way.
    return { id, note: `not seen: ${path} (${causeOf(error)})` };
  }
  if (found.length === 0) return { id, note: "the program's file and its directories are root's" };
  const message = `users other than root can replace the program's file: ${found.join(", ")}`;
  const hints = ["have root install it in a directory of root's, such as /usr/local/bin"];
  return { id, gap: { message, hints } };
}

/** Whether the process is in a user namespace whose owner can look into it. */
export function checkNamespace({ wasDumpable }: { wasDumpable: boolean }): Protection {
  const id = "user-namespace";
  if (!isReadableByNamespaceOwner({ isReadable: wasDumpable }))
    return { id, note: "none whose owner can read the proxy's memory" };
  return {
    id,
    gap: {
      message: "the process is in a user namespace, whose owner's processes can read its memory",
      hints: [
        "start it outside, for example by root with --user; a rootless container and bubblewrap are such namespaces",
      ],
    },
  };
}
