// What doctor found, as lines for a person and as JSON for a program. Pure but for the program's version.

import { styleText } from "node:util";

import { version } from "../../../package.json" with { type: "json" };
import { printable } from "../../base/terminal.ts";
import { type Check, CHECKS, conclude, type Status } from "./checks.ts";

export type Report = { upstreamUrl: URL; uid: number; checks: readonly Check[] };

const WIDTH = 80;
const LABEL_WIDTH = 15;
const INDENT = " ".repeat(4 + LABEL_WIDTH);
const MARKS: Record<Status, [mark: string, colour: "green" | "yellow" | "red"]> = {
  ok: ["✓", "green"],
  warning: ["!", "yellow"],
  fatal: ["✗", "red"],
};

/** One object on one line. */
export function toJson({ upstreamUrl, uid, checks }: Report): string {
  return printable(
    JSON.stringify({
      version,
      uid,
      upstream: addressOf(upstreamUrl),
      ...conclude(checks),
      checks: inOrder(checks).map(({ id, status, found, advice }) => ({
        id,
        status,
        found,
        advice: advice ?? null,
      })),
    }),
  );
}

/** Lines of at most 80 columns, but for words that are longer. */
export function toLines({ upstreamUrl, uid, checks }: Report, hasColours: boolean): string {
  type Style = Parameters<typeof styleText>[0];
  const paint = (style: Style, text: string): string =>
    hasColours ? styleText(style, text, { validateStream: false }) : text;
  const lines = wrap(`responses-api-proxy ${version}, for user ${uid} and ${addressOf(upstreamUrl)}`, WIDTH);
  let heading = "";
  for (const { id, status, found, advice } of inOrder(checks)) {
    const [group, label] = CHECKS[id];
    if (group !== heading) lines.push("", paint("bold", group));
    heading = group;
    const [mark, colour] = MARKS[status];
    const [first, ...rest] = wrap(printable(found), WIDTH - INDENT.length);
    lines.push(`  ${paint(colour, mark)} ${label.padEnd(LABEL_WIDTH)}${first}`);
    const [todo, ...more] = wrap(printable(advice ?? ""), WIDTH - INDENT.length - 2);
    lines.push(...rest.map((line) => INDENT + line));
    if (advice !== undefined) lines.push(`${INDENT}→ ${todo}`, ...more.map((line) => `${INDENT}  ${line}`));
  }
  return [...lines, "", ...summary(checks)].join("\n");
}

function summary(checks: readonly Check[]): string[] {
  const { starts, startsStrictly, reachesUpstream } = conclude(checks);
  if (!starts) return ["The proxy would not start here: see ✗."];
  const strict = inOrder(checks).filter(({ strict: refused }) => refused);
  const labels = strict.map(({ id }) => CHECKS[id][1]).join(", ");
  const text = startsStrictly
    ? "The proxy would start here, and with --strict, too"
    : `The proxy would start here; with --strict it would not (${labels})`;
  return wrap(reachesUpstream ? `${text}.` : `${text}; but it would not reach its upstream: see ✗.`, WIDTH);
}

function inOrder(checks: readonly Check[]): Check[] {
  const order = Object.keys(CHECKS);
  return checks.toSorted((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
}

/** Without the query, which may be a secret. */
function addressOf({ origin, pathname }: URL): string {
  return printable(origin + pathname);
}

function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1)!;
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
