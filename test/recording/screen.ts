// What stands on the recorded terminal: rows of pieces, each with the time at which it came. And what of it differs from run to run.

import { COLUMNS, type Event, PROMPT } from "./session.ts";

export type Piece = { text: string; atMs: number };

export type Row = {
  pieces: Piece[];
  /** Whether it goes on with the line of the row above, which was too long. */
  isContinued: boolean;
};

/** Longer waits are cut to this. */
const LONGEST_WAIT_MS = 1500;
/** What comes within so short a time comes at once. */
const TOGETHER_MS = 50;

/** Puts the text into rows as a terminal without escape sequences does. The times start at 0. Throws at a character that it would have to interpret. */
export function rowsOf(events: readonly Event[]): Row[] {
  const rows: Row[] = [{ pieces: [], isContinued: false }];
  for (const { atMs, text } of withoutLongWaits(events)) {
    for (const character of text) {
      if (character === "\r") continue;
      if (character === "\n") {
        rows.push({ pieces: [], isContinued: false });
        continue;
      }
      if (character < " ") throw new Error(`the terminal got ${JSON.stringify(character)}`);
      if (textOf(rows.at(-1)!).length === COLUMNS) rows.push({ pieces: [], isContinued: true });
      const { pieces } = rows.at(-1)!;
      const last = pieces.at(-1);
      if (last !== undefined && last.atMs === atMs) last.text += character;
      else pieces.push({ text: character, atMs });
    }
  }
  return rows.filter((row) => textOf(row).trimEnd() !== "");
}

function withoutLongWaits(events: readonly Event[]): Event[] {
  let [before, now] = [0, 0];
  return events.map(({ atMs, text }, place) => {
    now += place === 0 ? 0 : Math.min(atMs - before, LONGEST_WAIT_MS);
    before = atMs;
    return { atMs: Math.floor(now / TOGETHER_MS) * TOGETHER_MS, text };
  });
}

export function textOf({ pieces }: Row): string {
  return pieces.map(({ text }) => text).join("");
}

/** The lines that the programs wrote: rows, joined if a line was too long for one. */
export function linesOf(rows: readonly { text: string; isContinued: boolean }[]): string[] {
  const lines: string[] = [];
  for (const { text, isContinued } of rows) {
    if (isContinued) lines.push(lines.pop()! + text);
    else lines.push(text);
  }
  return lines;
}

const WARNING = /^responses-api-proxy: (warning|hint): /;

/** The warnings among the lines, with their hints: what this user, kernel or file lacks. Where nothing is lacking there are none. */
export function warningsIn(lines: readonly string[]): string[] {
  return lines.filter((line) => WARNING.test(line));
}

/**
 * The lines without what differs from run to run: the warnings, the token, the pid, the seconds, and whether the shell's last prompt comes before or
 * after the closing line.
 */
export function normalised(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !WARNING.test(line))
    .map((line) =>
      line
        .trimEnd()
        .replace(/^(OPENAI_API_KEY)=[\w-]{43}$/, "$1=TOKEN")
        .replace(/^cat: \/proc\/\d+\//, "cat: /proc/PID/")
        .replace(/^(?:\$ )?(responses-api-proxy: ended after) \d+ s/, "$1 N s"),
    )
    .filter((line) => line !== "" && `${line} `.replace(PROMPT, "") !== "");
}
