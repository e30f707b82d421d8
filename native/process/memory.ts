// Memory for one secret: its own pages, locked, excluded from core files, fenced, and wiped. Also mlockall.

import { check, libc, type Pointer, ptr, toArrayBuffer } from "../ffi/libc.ts";

const PROT_NONE = 0;
const PROT_READ_WRITE = 1 | 2;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MADV_DONTDUMP = 16;
const MADV_WIPEONFORK = 18;
const MCL_CURRENT = 1;
const MCL_FUTURE = 2;
const MCL_ONFAULT = 4;

/**
 * Locks all present and future memory of the process, each page when it is first touched (mlockall(2)).
 * Without MCL_ONFAULT, all address space that the engine reserves would become resident (docs/bun.md).
 * Throws SystemCallError: ENOMEM or EPERM if RLIMIT_MEMLOCK is below the virtual size and the process has
 * no CAP_IPC_LOCK.
 */
export function lockAllMemory(): void {
  check("mlockall", libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
}

/** Pages for a secret, outside the engine's heap, between two inaccessible pages. */
export class SecretPages {
  /** The bytes of the pages. TAKE CARE: unmapped after `wipe()`; an access then crashes the process. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The protections that failed, by system call or advice; empty if all hold. */
  readonly missing: readonly string[];
  readonly #mapping: bigint;
  readonly #mappingLength: bigint;
  readonly #address: bigint;
  readonly #length: bigint;

  /** Maps at least `minimumBytes`. Throws SystemCallError if the pages cannot be mapped. */
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
    this.bytes = new Uint8Array(toArrayBuffer(Number(this.#address) as Pointer, 0, minimumBytes));
  }

  /**
   * Overwrites the pages with zeros, verifies that, and unmaps them. Uses explicit_bzero(3), which neither
   * the engine nor a compiler may optimise away. Throws Error if the pages are not zero; they stay mapped
   * then.
   */
  wipe(): void {
    libc.explicit_bzero(this.#address, this.#length);
    if (!Buffer.alloc(this.bytes.length).equals(this.bytes))
      throw new Error("the key's pages were not wiped");
    check("munmap", libc.munmap(this.#mapping, this.#mappingLength));
  }
}

/** Returns random bytes from getrandom(2) in hexadecimal. The first call of crypto.randomUUID is slow. */
export function randomHex(bytes: number): string {
  const block = new Uint8Array(1024);
  check("getrandom", libc.getrandom(BigInt(ptr(block)), BigInt(bytes), 0));
  return block.subarray(0, bytes).toHex();
}
