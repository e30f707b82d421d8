// Whether others can read the file that the key comes from: a secret that a container engine has mounted.

import { SystemCallError } from "../../native/ffi/libc.ts";
import { statusOf } from "../../native/files/files.ts";
import { isSharedSecret } from "../files/key-file.ts";
import type { Protection } from "./protections.ts";

/** Looks at standard input, which is the file of --key-file by now, or what the caller gave with `< FILE`. Empty if it is no such secret. */
export function checkKeySource(): Protection[] {
  if (!isSharedSecretOn(0)) return [];
  return [
    {
      id: "key-file",
      gap: {
        message: "every process in this container can read the secret that the key comes from",
        hints: [
          "let nothing else run in the container; or mount the secret for the proxy's user alone: as root's with mode 0400 and --user, or as that user's",
        ],
      },
    },
  ];
}

function isSharedSecretOn(fd: number): boolean {
  try {
    return isSharedSecret(statusOf(fd));
  } catch (error) {
    // Standard input may be closed.
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}
