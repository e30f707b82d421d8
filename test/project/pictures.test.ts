// The drawings in docs/pictures fit the code, and show on GitHub in light and dark: without scripts, fonts or images from elsewhere.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";

const DIRECTORY = "docs/pictures";
const PICTURES = readdirSync(DIRECTORY);
const read = (name: string): string => readFileSync(`${DIRECTORY}/${name}`, "utf8");

test.each(PICTURES)("%s has words for who does not see it, and nothing from elsewhere", (name) => {
  const svg = read(name);
  expect(svg).toMatch(
    /^<svg [^>]*role="img"[^>]*>\n<title id="title">.+<\/title>\n<desc id="desc">.+<\/desc>\n/,
  );
  expect(svg).toMatch(/@media \(prefers-color-scheme: ?dark\)/);
  expect(svg).not.toMatch(/<script|<image|<foreignObject|@import|@font-face|url\((?!#)|href="(?!#)/);
});

describe("rooms.svg", () => {
  const table = readFileSync("docs/architecture.md", "utf8").matchAll(
    /^\| `((?:src|native)\/\w+)` *\|.*\|(.*)\|$/gm,
  );
  const mayImport = new Map([...table].map(([, folder, list]) => [folder!, list!]));

  test("has every folder of the architecture's table, and no other", () => {
    const rooms = [...read("rooms.svg").matchAll(/>((?:src|native)\/\w+)<\/text>/g)].map(
      ([, folder]) => folder!,
    );
    expect(rooms.sort()).toEqual([...mayImport.keys()].sort());
  });

  test("has only arrows that the table allows", () => {
    const arrows = [...read("rooms.svg").matchAll(/data-from="([^"]+)" data-to="([^"]+)"/g)];
    expect(arrows.length).toBeGreaterThan(8);
    const wrong = arrows.filter(([, from, to]) => !mayImport.get(from!)?.includes(`\`${to!}\``));
    expect(wrong.map(([, from, to]) => `${from} → ${to}`)).toEqual([]);
  });
});

test("starts.svg and the architecture have the steps of starts.ts, by number", () => {
  const code = readFileSync("src/lockdown/starts.ts", "utf8");
  const steps = [...code.matchAll(/^ +\/\/ (\d+)\. /gm)].map(([, number]) => number!);
  expect(steps.length).toBeGreaterThan(15);
  const drawn = [...read("starts.svg").matchAll(/<text class="num mid"[^>]*>(\d+)</g)].map(
    ([, number]) => number!,
  );
  expect(drawn).toEqual(steps);
  const [, section] = /^## The two starts\n([^]*?)^Then /m.exec(
    readFileSync("docs/architecture.md", "utf8"),
  )!;
  expect([...section!.matchAll(/^(\d+)\. /gm)].map(([, number]) => number!)).toEqual(steps);
});

test("request.svg names the steps and files that the architecture names", () => {
  const svg = read("request.svg");
  const [, section] = /^## The life of a request\n([^]*?)^The answer is returned/m.exec(
    readFileSync("docs/architecture.md", "utf8"),
  )!;
  const words = section!.split(/^\d+\. /m).slice(1);
  const steps = [
    ...svg.matchAll(/<text class="head"[^>]*>([^<]+)<\/text>\n<text class="code"[^>]*>([^<]+)</g),
  ];
  expect(steps.length).toBe(words.length);
  for (const [place, [, step, file]] of steps.entries()) {
    expect(words[place]!.toLowerCase()).toContain(`**${step}`);
    if (step !== "events") expect(words[place]).toContain(`/${file!}`);
  }
});
