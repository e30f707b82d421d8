// What a system call is given by its address is there until the call is over, even if the engine collects just before it.

import { expect, test } from "bun:test";

import { close, O_PATH, open, statusOf } from "../../native/files/files.ts";

/** Has the engine collect, and something else take the room, whenever an address has been taken and a number is made of it for a call. */
function collectingAtAddresses<T>(step: () => T): T {
  const original = globalThis.BigInt;
  const others: Buffer[] = [];
  const collecting = (value: number): bigint => {
    Bun.gc(true);
    for (let count = 0; count < 50; count++) others.push(Buffer.alloc(1024, "A"));
    return original(value);
  };
  globalThis.BigInt = Object.assign(collecting, original) as unknown as BigIntConstructor;
  try {
    return step();
  } finally {
    globalThis.BigInt = original;
  }
}

test("a file's status is that of the descriptor, whatever is collected meanwhile", () => {
  const fd = open("/etc", O_PATH);
  const { identity } = statusOf(fd);
  for (let count = 0; count < 20; count++)
    expect(collectingAtAddresses(() => statusOf(fd).identity)).toBe(identity);
  close(fd);
});
