// What a mutation is: one change of the program that takes a promise away, and the tests that are to notice.

export type Mutation = {
  /** What the changed line keeps, in a few words. */
  promise: string;
  file: string;
  /** Stands in the file exactly once. */
  from: string;
  to: string;
  /** Test files, as `key` for test/key/key.test.ts. */
  tests: readonly string[];
  /** Which of their tests, as `bun test -t` takes it; all if it is left out. */
  only?: string;
  /** Why no test notices: a second defence, or what a test cannot see. */
  known?: string;
};

/** Mutations by file. */
export type ByFile = Record<string, readonly Omit<Mutation, "file">[]>;

/** The file of that test; undefined if there is none. */
export function testFile(name: string): string | undefined {
  const pattern = name.startsWith("slow/") ? `test/${name}.slow.ts` : `test/*/${name}.test.ts`;
  const [file] = new Bun.Glob(pattern).scanSync(".");
  return file === undefined ? undefined : `./${file}`;
}

export function listed(byFile: ByFile): Mutation[] {
  return Object.entries(byFile).flatMap(([file, those]) => those.map((one) => ({ file, ...one })));
}

/** The text of a file with the change in it. Throws if what is to be changed is not there exactly once. */
export function mutate(text: string, { file, promise, from, to }: Mutation): string {
  const [before, after, ...more] = text.split(from);
  if (after === undefined || more.length > 0)
    throw new Error(
      `${file}, "${promise}": stands there ${after === undefined ? 0 : more.length + 1} times: ${from}`,
    );
  return `${before}${to}${after}`;
}
