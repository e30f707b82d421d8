// The code's boundaries hold: which folder may import which, and what may exist in one place only.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const FILES = [...new Bun.Glob("{src,native}/**/*.ts").scanSync(".")].sort();
const sources = new Map(FILES.map((file) => [file, readFileSync(file, "utf8")]));
const code = (file: string): string => sources.get(file)!.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
const filesWith = (pattern: RegExp): string[] => FILES.filter((file) => pattern.test(code(file)));

const staticImports = (file: string): string[] =>
  [...code(file).matchAll(/^(?:import|export)\b(?! type)[^;]*?from "([^"]+)"/gms)].map(([, from]) => from!);
const imports = (file: string): string[] => {
  const dynamically = code(file).matchAll(/\b(?:import|require)\("([^"]+)"\)/g);
  return [...staticImports(file), ...[...dynamically].map(([, from]) => from!)];
};
/** Returns the project's own files among the imports of a file. Throws if one does not exist. */
const filesAmong = (file: string, specifiers: string[]): string[] =>
  specifiers
    .filter((from) => from.startsWith("."))
    .map((from) => join(file, "..", from))
    .filter((path) => {
      if (path.endsWith(".ts") && !sources.has(path))
        throw new Error(`${file} imports ${path}, which is not there`);
      return path.endsWith(".ts");
    });

describe("in one place only", () => {
  const ONLY: [what: string, pattern: RegExp, files: string[]][] = [
    ["dlopen", /\bdlopen\(/, ["native/ffi/libc.ts"]],
    ["bun:ffi", /from "bun:ffi"/, ["native/ffi/libc.ts"]],
    ["process.exit", /\bprocess\.exit\b/, ["src/main.ts"]],
    [
      "writing to the terminal",
      /\bwriteSync\([12d]|\bconsole\.|process\.(stdout|stderr)|createConsola\(/,
      ["src/base/terminal.ts"],
    ],
    [
      "fetch",
      /(?<![.\w])fetch\(/,
      ["src/commands/doctor/upstream.ts", "src/key/oidc/ask.ts", "src/proxy/upstream.ts"],
    ],
    ["Bun.serve", /\bBun\.serve\(/, ["src/server/bun-serve.ts"]],
    [
      "the key's value",
      /\bexposeForUpstream\(\)/,
      ["src/key/authorization.ts", "src/key/oidc/exchange.ts", "src/proxy/upstream.ts"],
    ],
    ["process.env", /\bprocess\.env\b/, ["src/main.ts"]],
    ["process.arch", /\bprocess\.arch\b|\bos\.arch\b/, ["native/ffi/architecture.ts"]],
    ["execve", /\blibc\.execve\b/, ["native/process/process.ts"]],
  ];
  test.each(ONLY)("%s", (_what, pattern, files) => {
    expect(filesWith(pattern)).toEqual(files);
  });
});

/** Returns `src/input` for `src/input/options.ts`, `src/commands` also for files in its folders, undefined for src/main.ts. */
const folderOf = (file: string): string | undefined => /^(\w+\/\w+)\//.exec(file)?.[1];

describe("dependencies point one way", () => {
  const architecture = readFileSync("docs/architecture.md", "utf8");
  const table = [...architecture.matchAll(/^\| `((?:src|native)\/\w+)` *\|.*\|(.*)\|$/gm)];
  const mayImport = new Map(
    table.map(([, folder, list]) => [folder!, [...list!.matchAll(/`([\w/]+)`/g)].map(([, name]) => name!)]),
  );

  test("the architecture's table has every folder, and no other", () => {
    const folders = new Set(FILES.map(folderOf).filter((folder) => folder !== undefined));
    expect([...mayImport.keys()].sort()).toEqual([...folders].sort());
  });

  test("a folder imports what the architecture's table allows", () => {
    for (const file of FILES) {
      const folder = folderOf(file);
      if (folder === undefined) continue;
      const others = filesAmong(file, imports(file)).map((path) => folderOf(path) ?? path);
      const forbidden = others.filter((other) => other !== folder && !mayImport.get(folder)!.includes(other));
      expect(forbidden, file).toEqual([]);
    }
  });

  test("no subcommand reaches the key, the proxy or the log of exchanges, on any path", () => {
    const reached = new Set(FILES.filter((file) => file.startsWith("src/commands/")));
    for (const file of reached) for (const next of filesAmong(file, imports(file))) reached.add(next);
    expect(reached.size).toBeGreaterThan(30);
    expect([...reached].filter((file) => /^src\/(key|proxy|report|server)\/|^src\/run/.test(file))).toEqual(
      [],
    );
  });

  test("the files that the architecture names exist, and it names one in each folder", () => {
    const named = [...architecture.matchAll(/`((?:src|native|test)\/[\w/.-]+\.ts)`/g)].map(
      ([, file]) => file!,
    );
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((file) => !existsSync(file))).toEqual([]);
    const promised = new Set(named.map(folderOf));
    for (const folder of mayImport.keys())
      if (folder !== "native/ffi" && folder !== "native/files" && folder !== "native/sockets")
        expect(promised, folder).toContain(folder);
  });

  test("at most eleven entries in a folder", () => {
    for (const folder of ["src", "native", ...mayImport.keys()])
      expect(readdirSync(folder).length, folder).toBeLessThanOrEqual(11);
  });

  test("policy and headers are pure: no imports, no globals", () => {
    expect(imports("src/proxy/policy.ts")).toEqual([]);
    expect(imports("src/proxy/headers.ts")).toEqual([]);
    for (const file of ["src/proxy/policy.ts", "src/proxy/headers.ts"])
      expect(code(file)).not.toMatch(/\b(Bun|process|globalThis|await)\b/);
  });

  test("no cycles", () => {
    const walk = (file: string, path: string[]): void => {
      expect(path).not.toContain(file);
      for (const next of filesAmong(file, imports(file))) walk(next, [...path, file]);
    };
    walk("src/main.ts", []);
  });

  test("each start of the proxy loads no module of Node's, no subcommand, and nothing of tokens", () => {
    // main.ts imports run.ts lazily, so that subcommands do not load it.
    const loaded = new Set(["src/main.ts", "src/run.ts"]);
    for (const file of loaded) {
      for (const next of filesAmong(file, staticImports(file))) loaded.add(next);
    }
    expect(loaded.size).toBeGreaterThan(30);
    expect(
      [...loaded].filter((file) => staticImports(file).some((path) => path.startsWith("node:"))),
    ).toEqual([]);
    expect([...loaded].filter((file) => /\/(commands|doctor|status|wait)\.ts$/.test(file))).toEqual([]);
    expect([...loaded].filter((file) => file.startsWith("src/key/oidc/"))).toEqual([]);
  });

  test("run loads no module of Node's before COMMAND, and nor does the process that watches over it", () => {
    const loaded = new Set(
      ["run/run.ts", "run/become.ts", "run/watch.ts"].map((one) => `src/commands/${one}`),
    );
    for (const file of loaded) for (const next of filesAmong(file, staticImports(file))) loaded.add(next);
    expect(loaded.size).toBeGreaterThan(30);
    expect(
      [...loaded].filter((file) => staticImports(file).some((from) => from.startsWith("node:"))),
    ).toEqual([]);
  });

  test("the only dependencies are citty and consola", () => {
    const outside = new Set(FILES.flatMap(imports).filter((from) => !/^(\.|node:|bun:)/.test(from)));
    expect([...outside].sort()).toEqual(["citty", "consola/core"]);
  });
});

test("every file opens with a comment, and none has more than 200 lines", () => {
  for (const [file, text] of sources) {
    expect(text.replace(/^#!.*\n/, ""), file).toStartWith("// ");
    expect(text.split("\n").length, file).toBeLessThanOrEqual(200);
  }
});
