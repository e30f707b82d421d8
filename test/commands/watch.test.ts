// The process that `run` leaves beside COMMAND: what it makes of a proxy's words, whatever they are.

import { expect, test } from "bun:test";

import { makePipe } from "../../native/files/descriptors.ts";
import { close, writeAll } from "../../native/files/files.ts";
import { openProcess } from "../../native/process/others.ts";
import { socketPair } from "../../native/sockets/pair.ts";
import { atEnd } from "../harness/cleanup.ts";
import { within } from "../harness/deadline.ts";
import { BARE_ENVIRONMENT, BINARY } from "../harness/program.ts";

/** Returns what the watcher says at the end if a proxy has written this to its standard error. */
async function told(words: string | Buffer): Promise<string> {
  const [command, proxy] = [Bun.spawn(["sleep", "60"]), Bun.spawn(["sleep", "60"])];
  const [channel, errors, start] = [socketPair(), makePipe(), makePipe()];
  const given = [channel.own, errors.reader, openProcess(command.pid), openProcess(proxy.pid), start.reader];
  const watcher = Bun.spawn([BINARY, "watch"], {
    stdio: ["ignore", "ignore", "pipe", ...given] as ["ignore", "ignore", "pipe"],
    env: BARE_ENVIRONMENT,
  });
  for (const child of [command, proxy, watcher])
    atEnd(() => {
      child.kill("SIGKILL");
      return child.exited;
    });
  for (const fd of given) close(fd);
  writeAll(start.writer, Buffer.from("!"));
  close(start.writer);
  writeAll(errors.writer, Buffer.from(words));
  for (const fd of [errors.writer, channel.other]) close(fd);
  // One after the other: a proxy that ends before COMMAND is a warning.
  for (const child of [command, proxy]) {
    child.kill("SIGKILL");
    await child.exited;
  }
  const text = new Response(watcher.stderr as ReadableStream).text();
  expect(await within(watcher.exited, "the watcher to end")).toBe(0);
  return text;
}

test("the proxy's lines are passed on as they are", async () => {
  const lines = "responses-api-proxy: error: one\nresponses-api-proxy: hint: zwei, ä\n";
  expect(await told(lines)).toBe(lines);
});

test("equal lines in a row are one, with their number", async () => {
  expect(await told("a\nb\nb\nb\na\nb\n")).toBe("a\nb (3 times)\na\nb\n");
});

test("one that was taken over does not draw on the terminal", async () => {
  const drawing = "\u001b]0;title\u0007\u001b[2Jone\rtwo\n\u009b31m\u202ethree";
  expect(await told(drawing)).toBe("\\u001b]0;title\\u0007\\u001b[2Jone\\u000dtwo\n\\u009b31m\\u202ethree");
});

test("bytes that are no text become characters", async () => {
  expect(await told(Buffer.from([0x61, 0x9b, 0x31, 0x6d, 0x0a]))).toBe("a\ufffd1m\n");
});
