// The process that `run` leaves beside COMMAND and the proxy. It has no key. It sleeps until one of the two ends: if COMMAND does, the proxy is to
// end; if the proxy does unasked, COMMAND is told by SIGTERM. Then it removes the shim and says what was.

import { readOrEnd, waitForAny } from "../../../native/files/descriptors.ts";
import { close, writeAll } from "../../../native/files/files.ts";
import { signalProcess } from "../../../native/process/others.ts";
import { makeUndumpable, setProcessName, SIGTERM, SIGUSR2 } from "../../../native/process/process.ts";
import { endSending, isOfPair } from "../../../native/sockets/pair.ts";
import { EXIT, type ExitCode } from "../../base/errors.ts";
import * as terminal from "../../base/terminal.ts";
import { usageError } from "../../input/arguments.ts";
import type { Ended } from "../../input/starter.ts";
import { removeShim } from "./codex.ts";

/** What `run` gives it, from descriptor 3 on. */
const [CHANNEL, ERRORS, COMMAND, PROXY, START] = [3, 4, 5, 6, 7];
const STANDARD_ERROR = 2;
const CHUNK_BYTES = 65_536;
/** How much of what the proxy says while COMMAND runs is kept. */
const MAX_KEPT_BYTES = 65_536;

/** Returns when both have ended. Throws UserError if it was not started by `run`. */
export function watch(shim: string | undefined): ExitCode {
  refuseOthers();
  makeUndumpable();
  setProcessName("responses-watch");
  const proxy = watchBoth({ hasCommand: awaitCommand() });
  if (shim !== undefined) removeShim(shim);
  if (proxy.dropped > 0)
    terminal.warning(`${proxy.dropped} bytes of the proxy's log were not kept`, [
      "--log-file keeps all of it",
    ]);
  writeLines(proxy.log);
  if (proxy.told !== undefined) terminal.warning(`the proxy ended before COMMAND, which was ${proxy.told}`);
  const totals = proxy.ended?.totals;
  if (totals !== undefined) terminal.info(totals, { event: "totals" });
  return EXIT.clean;
}

/** Waits until run has become COMMAND, or ended: until then the socket and the proxy's standard error are its. Returns whether there is a COMMAND. */
function awaitCommand(): boolean {
  const space = Buffer.alloc(1);
  const hasCommand = readOrEnd(START, space) > 0;
  if (hasCommand) readOrEnd(START, space);
  // If run ended before it had sent all, the proxy would wait for the rest.
  endSending(CHANNEL);
  return hasCommand;
}

/** Reads what the proxy says until it and COMMAND have ended. */
function watchBoth({ hasCommand }: { hasCommand: boolean }): {
  ended: Ended | undefined;
  told: string | undefined;
  log: Buffer;
  dropped: number;
} {
  let log = Buffer.alloc(0);
  let dropped = 0;
  let ended: Ended | undefined;
  let told: string | undefined;
  const open = new Set([CHANNEL, ERRORS, COMMAND, PROXY]);
  const take = (fd: number): void => {
    const space = Buffer.alloc(CHUNK_BYTES);
    const count = readOrEnd(fd, space);
    if (count === 0) open.delete(fd);
    else if (fd === CHANNEL) ended = JSON.parse(space.toString("utf8", 0, count)) as Ended;
    else {
      const all = Buffer.concat([log, space.subarray(0, count)]);
      log = all.subarray(Math.max(0, all.length - MAX_KEPT_BYTES));
      dropped += all.length - log.length;
    }
  };
  while (open.has(COMMAND) || open.has(PROXY)) {
    const ready = waitForAny([...open]);
    // First, because the proxy's last words come before its end.
    const spoken = ready.filter((fd) => fd === CHANNEL || fd === ERRORS);
    for (const fd of spoken) take(fd);
    if (spoken.length > 0) continue;
    if (ready.includes(COMMAND)) {
      open.delete(COMMAND);
      // The kernel has told it, unless COMMAND was another user's. It is no signal that counts twice. A proxy that is still starting would end by
      // it and leave files behind: that one looks for its parent by itself.
      if (hasCommand) signalProcess(PROXY, SIGUSR2);
    }
    if (ready.includes(PROXY)) {
      open.delete(PROXY);
      // The kernel tells the proxy of COMMAND's end when its first thread has ended, and this process when its last one has. Without a COMMAND
      // it is run itself that is still there: the proxy could not start.
      if (!hasCommand || !open.has(COMMAND) || ended?.unasked === false) continue;
      told = signalProcess(COMMAND, SIGTERM) ? "told by SIGTERM" : "not told: it is another user's";
    }
  }
  return { ended, told, log, dropped };
}

function refuseOthers(): void {
  if (!isOfPair(CHANNEL)) throw usageError("this is a part of run, and not to be started by hand");
}

/** Equal lines in a row as one, with their number: an agent tries again and again. */
function folded(lines: readonly string[]): string[] {
  const runs: { line: string; count: number }[] = [];
  for (const line of lines) {
    const last = runs.at(-1);
    if (last?.line === line) last.count++;
    else runs.push({ line, count: 1 });
  }
  return runs.map(({ line, count }) => (count === 1 ? line : `${line} (${count} times)`));
}

/** Writes the proxy's lines. They are escaped already, unless somebody has taken the proxy over: then they must not draw on the terminal either. */
function writeLines(log: Buffer): void {
  const lines = folded(log.toString().split("\n").map(terminal.printable));
  try {
    writeAll(STANDARD_ERROR, Buffer.from(lines.join("\n")));
  } catch {
    // Nobody reads it.
  }
  for (const fd of [CHANNEL, ERRORS]) close(fd);
}
