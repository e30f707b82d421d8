// docs/pictures/run.svg: the rows of the terminal as text that appears when it came, in a loop. Without motion, and at the end, all of it stands there.

import { type Row, textOf } from "./screen.ts";
import { PROMPT } from "./session.ts";

export const PICTURE = "docs/pictures/run.svg";

const [WIDTH, MARGIN] = [830, 22];
const [TOP, ROW_HEIGHT, FONT_SIZE] = [34, 22, 14.5];
/** Above each line that was typed. */
const GAP = 9;
/** How long the whole session stands before it begins again. */
const STANDS_MS = 8000;

const CAPTION =
  "Recorded in a terminal, by npm run record. Stand-ins on the same machine play pass and api.openai.com.";

export function draw(rows: readonly Row[]): string {
  const times = [...new Set(rows.flatMap(({ pieces }) => pieces.map(({ atMs }) => atMs)))].sort(
    (a, b) => a - b,
  );
  const lengthMs = times.at(-1)! + STANDS_MS;
  const keyframes = times.map((atMs) => {
    const percent = ((100 * atMs) / lengthMs).toFixed(2);
    return `@keyframes t${atMs}{0%{visibility:hidden}${percent}%,to{visibility:visible}}`;
  });
  let bottom = TOP;
  const texts = rows.map((row) => {
    bottom += ROW_HEIGHT + (PROMPT.test(textOf(row)) ? GAP : 0);
    const kind = row.isContinued ? "row more" : "row";
    return `<text class="${kind}" x="${MARGIN}" y="${bottom}">${spans(row)}</text>`;
  });
  const height = bottom + 22;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title desc">
<title id="title">A session behind responses-api-proxy run</title>
<desc id="desc">A terminal. The key is piped into responses-api-proxy run, which starts a shell. In it the environment has a token and no key, an agent gets its answer, another route is refused with 403, and the proxy's environment, memory and standard input are refused with "Permission denied". At the end one line has the totals.</desc>
<style>
svg{--back:#f6f8fa;--line:#d1d9e0;--text:#1f2328;--dim:#59636e;--typed:#0550ae}
@media (prefers-color-scheme:dark){svg{--back:#151b23;--line:#3d444d;--text:#f0f6fc;--dim:#9198a1;--typed:#79c0ff}}
rect{fill:var(--back);stroke:var(--line)}
.row{font:${FONT_SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;white-space:pre;fill:var(--text)}
.caption{font:14px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--dim)}
.prompt,.note{fill:var(--dim)}
.typed{fill:var(--typed);font-weight:600}
@media (prefers-reduced-motion:no-preference){tspan[style]{animation:${lengthMs}ms step-end infinite}}
${keyframes.join("\n")}
</style>
<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>
<text class="caption" x="${MARGIN}" y="${TOP - 6}">${escaped(CAPTION)}</text>
${texts.join("\n")}
</svg>
`;
}

/** The row's pieces; those of a line that was typed are told apart from the prompt and from the comment. */
function spans(row: Row): string {
  const text = textOf(row);
  const typedFrom = PROMPT.exec(text)?.[0].length ?? Infinity;
  const comment = typedFrom === Infinity ? -1 : text.search(/ # /);
  const noteFrom = comment === -1 ? Infinity : comment;
  const kindAt = (place: number): string =>
    typedFrom === Infinity ? "" : place < typedFrom ? "prompt" : place < noteFrom ? "typed" : "note";
  let place = 0;
  const shown: { text: string; atMs: number; kind: string }[] = [];
  for (const { text, atMs } of row.pieces)
    for (const character of text) {
      const kind = kindAt(place++);
      const last = shown.at(-1);
      if (last?.atMs === atMs && last.kind === kind) last.text += character;
      else shown.push({ text: character, atMs, kind });
    }
  return shown
    .map(({ text, atMs, kind }) => {
      const name = kind === "" ? "" : ` class="${kind}"`;
      return `<tspan${name} style="animation-name:t${atMs}">${escaped(text)}</tspan>`;
    })
    .join("");
}

/** The rows of such a picture. */
export function rowsIn(svg: string): { text: string; isContinued: boolean }[] {
  return [...svg.matchAll(/<text class="row( more)?"[^>]*>(.*)<\/text>/g)].map(([, more, inside]) => ({
    text: unescaped(inside!.replaceAll(/<[^>]*>/g, "")),
    isContinued: more !== undefined,
  }));
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function unescaped(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
