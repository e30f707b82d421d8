// Reads Markdown: sections, links, blocks, and the calls of the program in them.

/** Returns what stands below a heading of the second level, up to the next one; nothing if there is no such heading. */
export function sectionOf(page: string, title: string): string {
  return new RegExp(`^## ${title}\\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, "m").exec(page)?.[1] ?? "";
}

/** Returns the blocks of a language, without what they are indented by. */
export function blocksOf(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^( *)\`\`\`${language}\\n([\\s\\S]*?)^\\1\`\`\``, "gm"))].map(
    ([, indent, block]) => block!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  );
}

/** Returns the links and pictures that do not leave the project. */
export function linksOf(page: string): { path: string; anchor: string | undefined }[] {
  return [...page.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)/g)].map(([, path, anchor]) => ({
    path: path!,
    anchor,
  }));
}

/** Returns the anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\d\- ]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** A call of the program: its subcommand, and its long flags without what follows `--`. */
export type Call = { command: string | undefined; flags: string[] };

/** Returns the calls of the program in a script. */
export function callsIn(script: string): Call[] {
  const joined = script.replaceAll(/\\\n/g, " ");
  return [...joined.matchAll(/(?<![\w/.-])responses-api-proxy (?=[a-z-])([^\n|;&)]*)/g)].map(([, rest]) => {
    // Without COMMAND, a comment, and what another program is asked for in an argument.
    const words = rest!.replace(/ (--|#)( .*)?$|\$\(.*/, "").split(/\s+/);
    const flags = words.filter((word) => word.startsWith("--")).map((word) => /^--([\w-]+)/.exec(word)![1]!);
    return { command: /^[a-z]/.test(words[0]!) ? words[0] : undefined, flags };
  });
}
