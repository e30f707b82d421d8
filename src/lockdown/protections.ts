// What protects the key: each protection by its id, with the words for the log if it holds, and what it means if it does not.

/** Stable names; `doctor --json` shows them. */
export type ProtectionId =
  | "file-readable"
  | "file-owner"
  | "user-namespace"
  | "core-dumps"
  | "memory-lock"
  | "key-pages"
  | "key-file"
  | "directories"
  | "landlock"
  | "seccomp"
  | "mdwe"
  | "user";

/** Why a protection does not hold, or not for certain. */
export type Gap = Readonly<{
  message: string;
  hints: readonly string[];
  /** It holds for now, so --strict does not refuse it. */
  isTolerated?: boolean;
}>;

/** `held`: the words for the log's protections line; `note`: what `doctor` says in place of them. */
export type Protection = Readonly<{
  id: ProtectionId;
  held?: string | undefined;
  note?: string;
  gap?: Gap | undefined;
}>;

/** The installation with which all protections hold that depend on the program's file. */
export const INSTALL = "install it so that its user cannot read it: install -o root -g GROUP -m 0710";
