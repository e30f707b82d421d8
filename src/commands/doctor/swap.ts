// Which swap there is, and whether what is written there can be read by whoever gets the disk.

import { existsSync, readdirSync, statSync } from "node:fs";

import { readText, readTextIfThere } from "../../../native/files/files.ts";

/** `memory` is zram, which is no disk. */
export type Swap = { name: string; kind: "encrypted" | "memory" | "plain" };

/** The devices and files of /proc/swaps (proc_swaps(5)), which a kernel without swap does not have. */
export function swaps(): Swap[] {
  const [, ...lines] = (readTextIfThere("/proc/swaps") ?? "").trim().split("\n");
  return lines.map((line) => {
    // A blank in a name is written as \040.
    const [path = "", type] = line.split(/\s+/);
    const name = path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    return { name, kind: kindOf(name, type === "file") };
  });
}

function kindOf(path: string, isFile: boolean): Swap["kind"] {
  if (/^\/dev\/zram\d+$/.test(path)) return "memory";
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return "plain";
  const device = isFile ? found.dev : found.rdev;
  return isEncrypted(`/sys/dev/block/${major(device)}:${minor(device)}`) ? "encrypted" : "plain";
}

/** dm-crypt names its devices CRYPT-…; what lies on others is encrypted if all that those lie on is (LVM on LUKS). */
function isEncrypted(device: string): boolean {
  if (!existsSync(`${device}/dm/uuid`)) return false;
  if (readText(`${device}/dm/uuid`).startsWith("CRYPT-")) return true;
  const below = readdirSync(`${device}/slaves`);
  return below.length > 0 && below.every((name) => isEncrypted(`${device}/slaves/${name}`));
}

// gnu_dev_major(3)
function major(device: number): number {
  const bits = BigInt(device);
  return Number(((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n));
}

function minor(device: number): number {
  const bits = BigInt(device);
  return Number((bits & 0xffn) | ((bits >> 12n) & 0xffffff00n));
}
