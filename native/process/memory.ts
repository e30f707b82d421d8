// Memory for one secret: pages of our own that are locked, kept out of dumps, fenced in, and wiped for certain.

import { check, libc, type Pointer, ptr, toArrayBuffer } from "../ffi/libc.ts";
import { syscallNumber } from "../ffi/syscalls.ts";

const PROT_NONE = 0;
const PROT_READ_WRITE = 1 | 2;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MADV_DONTDUMP = 16;
const MADV_WIPEONFORK = 18;
const MCL_CURRENT = 1;
const MCL_FUTURE = 2;
const MCL_ONFAULT = 4;

/**
 * Locks every page of the process, present and future, as it is first touched (mlockall(2)).
 * MCL_ONFAULT is what keeps this cheap: without it the 6 GB of address space that the engine reserves become resident.
 * Throws SystemCallError: ENOMEM or EPERM where RLIMIT_MEMLOCK is below the virtual size and CAP_IPC_LOCK is missing.
 */
export function lockAllMemory(): void {
  check("mlockall", libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
}

/** Takes that back, for a process that only wants to know whether it can be had. Throws SystemCallError. */
export function unlockAllMemory(): void {
  check("munlockall", libc.syscall(BigInt(syscallNumber("munlockall")!), 0n, 0n, 0n, 0n, 0n, 0n));
}

/** Pages for a secret, outside the engine's heap, with an unreadable page before and after them. */
export class SecretPages {
  /** The pages' bytes. Not to be touched after `wipe()`: the memory is gone then. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Which of the pages' protections could not be had, by system call; empty is what one wants. */
  readonly missing: readonly string[];
  readonly #mapping: bigint;
  readonly #mappingLength: bigint;
  readonly #address: bigint;
  readonly #length: bigint;

  /** Maps at least `minimumBytes`. Throws SystemCallError where not even the mapping can be had. */
  constructor(minimumBytes: number) {
    const page = libc.getpagesize();
    const length = Math.ceil(minimumBytes / page) * page;
    this.#length = BigInt(length);
    this.#mappingLength = BigInt(length + 2 * page);
    this.#mapping = libc.mmap(0n, this.#mappingLength, PROT_NONE, MAP_PRIVATE_ANONYMOUS, -1, 0n);
    check("mmap", this.#mapping);
    this.#address = this.#mapping + BigInt(page);
    check("mprotect", libc.mprotect(this.#address, this.#length, PROT_READ_WRITE));
    const missing: string[] = [];
    if (libc.mlock(this.#address, this.#length) !== 0) missing.push("mlock");
    if (libc.madvise(this.#address, this.#length, MADV_DONTDUMP) !== 0) missing.push("MADV_DONTDUMP");
    if (libc.madvise(this.#address, this.#length, MADV_WIPEONFORK) !== 0) missing.push("MADV_WIPEONFORK");
    this.missing = missing;
    this.bytes = new Uint8Array(toArrayBuffer(Number(this.#address) as Pointer, 0, length));
  }

  /**
   * Overwrites the pages with zeros, looks whether they are zero, and unmaps them. The write is a call into libc (explicit_bzero), which no
   * engine and no compiler leaves out.
   */
  wipe(): void {
    libc.explicit_bzero(this.#address, this.#length);
    if (!Buffer.alloc(this.bytes.length).equals(this.bytes))
      throw new Error("the key's pages were not wiped");
    check("munmap", libc.munmap(this.#mapping, this.#mappingLength));
  }
}

/** Random bytes of the kernel's, in hexadecimal. (crypto.randomUUID takes 2 ms the first time: Bun 1.4.5.) */
export function randomHex(bytes: number): string {
  const block = new Uint8Array(1024);
  check("getrandom", libc.getrandom(BigInt(ptr(block)), BigInt(bytes), 0));
  return block.subarray(0, bytes).toHex();
}
