// What was probably meant: the known word with the fewest typing errors, and this program's name for other programs' words.

/** The candidate with at most two typing errors (a letter missing, added or wrong); undefined if there is none. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, slips: editDistance(word.toLowerCase(), candidate) }))
    .sort((a, b) => a.slips - b.slips);
  const best = ranked[0];
  return best !== undefined && best.slips <= 2 ? best.candidate : undefined;
}

const ADDRESS = "it listens on 127.0.0.1 only; --port chooses the port";
const END =
  "end it with kill and the pid in the server-info file, or with GET /shutdown if --http-shutdown is given";
const MORE = "--log-level=debug says more";

const FROM_ELSEWHERE: Readonly<Record<string, string>> = {
  "--address": ADDRESS,
  "--bind": ADDRESS,
  "--host": ADDRESS,
  "--hostname": ADDRESS,
  "--listen": ADDRESS,
  "--debug": MORE,
  "--verbose": MORE,
  "-v": `${MORE}; -V shows the version`,
  "--quiet": "--log-level=error says less",
  "-q": "--log-level=error says less",
  stop: END,
  shutdown: END,
  kill: END,
  quit: END,
  start: "leave it out: without a subcommand the proxy starts",
  serve: "leave it out: without a subcommand the proxy starts",
};

/** What this program calls a word that other programs take; undefined if that is not known. */
export function fromElsewhere(word: string): string | undefined {
  return Object.hasOwn(FROM_ELSEWHERE, word) ? FROM_ELSEWHERE[word] : undefined;
}

/** Whether a flag asks for the key as its value, as other programs' flags do. */
export function isKeyFlag(flag: string): boolean {
  return /^--?(openai-?)?(api-?)?(key|token)$/i.test(flag.replaceAll("_", "-"));
}

/** Levenshtein distance, a row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const wrong = row[j]! + (letter === b[j] ? 0 : 1);
      next.push(Math.min(wrong, row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
