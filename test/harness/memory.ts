// Looks for a text in another process's memory, as root: in every page that is present, locked or not.

import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const PAGE_BYTES = 4096;
const CHUNK_PAGES = 1024;
/** One for all: there are thousands of runs, and to make a new one for each takes longer than to read them. */
const chunk = Buffer.alloc(CHUNK_PAGES * PAGE_BYTES);

type Found = {
  /** Copies of the text in the whole memory. */
  copies: number;
  /** Copies in mappings that are not locked. */
  unlocked: number;
};

type Mapping = { start: number; end: number; locked: boolean };

/** Counts the copies of `text` in the process's memory. */
export function scanMemory(pid: number, text: string): Found {
  return scan(pid, text, mappings(pid));
}

/** Counts the copies of `text` in the process's pages for secrets: those that core files leave out. */
export function scanSecretPages(pid: number, text: string): number {
  return scan(pid, text, mappings(pid, "dd")).copies;
}

function scan(pid: number, text: string, where: readonly Mapping[]): Found {
  const needle = Buffer.from(text, "latin1");
  const found: Found = { copies: 0, unlocked: 0 };
  const mem = openSync(`/proc/${pid}/mem`, "r");
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    for (const mapping of where) {
      let copies = 0;
      for (const run of presentRuns(pagemap, mapping)) copies += countIn(mem, run, needle);
      found.copies += copies;
      if (!mapping.locked) found.unlocked += copies;
    }
  } finally {
    closeSync(mem);
    closeSync(pagemap);
  }
  return found;
}

/** Returns the blocks of /proc/PID/smaps whose VmFlags (proc_pid_smaps(5)) include all these flags. */
export function mappingsWithFlags(pid: number, ...flags: string[]): string[] {
  return smapsBlocks(pid).filter((block) => {
    const has = /^VmFlags: (.*)$/m.exec(block)?.[1]?.split(" ") ?? [];
    return flags.every((flag) => has.includes(flag));
  });
}

function smapsBlocks(pid: number): string[] {
  return readFileSync(`/proc/${pid}/smaps`, "latin1").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
}

/** Those that are in memory and can be read; with the flag, if one is given. */
function mappings(pid: number, flag?: string): Mapping[] {
  return (flag === undefined ? smapsBlocks(pid) : mappingsWithFlags(pid, flag))
    .filter(
      (block) =>
        / r/.test(block) && !/Rss: +0 kB/.test(block) && !/\[v(var|syscall|var_vclock)\]/.test(block),
    )
    .map((block) => {
      const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(block)!;
      const locked = /^VmFlags:.*\blo\b/m.test(block);
      return { start: Number.parseInt(start!, 16), end: Number.parseInt(end!, 16), locked };
    });
}

/** Yields runs of pages that are in memory (bit 63 of the pagemap entry) or swapped (bit 62); skips reserved addresses. */
function* presentRuns(pagemap: number, { start, end }: Mapping): Generator<{ start: number; end: number }> {
  const entries = Buffer.alloc(CHUNK_PAGES * 64 * 8);
  let runStart: number | undefined;
  for (let at = start; at < end;) {
    const wanted = Math.min(entries.length, ((end - at) / PAGE_BYTES) * 8);
    const got = readSync(pagemap, entries, 0, wanted, (at / PAGE_BYTES) * 8);
    for (let offset = 0; offset < got; offset += 8, at += PAGE_BYTES) {
      const isThere = (entries[offset + 7]! & 0xc0) !== 0;
      if (isThere) runStart ??= at;
      else if (runStart !== undefined) {
        yield { start: runStart, end: at };
        runStart = undefined;
      }
    }
    if (got === 0) break;
  }
  if (runStart !== undefined) yield { start: runStart, end };
}

function countIn(mem: number, run: { start: number; end: number }, needle: Buffer): number {
  let copies = 0;
  let kept = 0;
  for (let at = run.start; at < run.end;) {
    const wanted = Math.min(chunk.length - kept, run.end - at);
    const got = readSync(mem, chunk, kept, wanted, at);
    const filled = chunk.subarray(0, kept + got);
    for (let hit = filled.indexOf(needle); hit !== -1; hit = filled.indexOf(needle, hit + 1)) copies++;
    // A copy may span two chunks.
    kept = Math.min(needle.length - 1, filled.length);
    filled.copy(chunk, 0, filled.length - kept);
    at += got;
    if (got === 0) break;
  }
  return copies;
}
