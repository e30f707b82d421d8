// No mutated request or answer breaks an invariant of the program, and the same cases detect programs with one wrong line.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { temporaryDirectory } from "../harness/program.ts";
import { type Ending, fromText, type Kind, makeCase, toText } from "./cases.ts";
import { describeFailure, FEW_LANES, fuzz, replay } from "./fuzz.ts";

const CASES = 500;
const ANSWERS: readonly Kind[] = ["answer", "answer", "answer", "early"];
/** One fixed seed, and one that changes each day; a failure shows it. */
const SEEDS = [1, Math.floor(Date.now() / 86_400_000)];

describe.each(SEEDS)("seed %d", (seed) => {
  test(`${CASES} requests`, async () => {
    const { failures, cases, reached, refused } = await fuzz({ kinds: ["request"], cases: CASES, seed });
    expect(failures.map(describeFailure)).toEqual([]);
    expect(cases).toBe(CASES);
    // Neither a proxy that refuses everything may pass, nor cases that are all refused.
    expect(reached).toBeGreaterThan(CASES / 10);
    expect(refused).toBeGreaterThan(CASES / 10);
  });

  test(`${CASES} answers`, async () => {
    const { failures, reached } = await fuzz({ kinds: ANSWERS, cases: CASES, seed });
    expect(failures.map(describeFailure)).toEqual([]);
    expect(reached).toBe(CASES);
  });
});

const ROOT = resolve(import.meta.dir, "../..");

/** Returns a command that runs the program, bundled from its source with `wrong` in place of `line` of `file`. */
async function programWith(file: string, line: string, wrong: string): Promise<string[]> {
  const path = join(ROOT, file);
  const source = readFileSync(path, "utf8");
  if (source.split(line).length !== 2) throw new Error(`${file} has not exactly one '${line}'`);
  const contents = source.replace(line, () => wrong);
  let isReplaced = false;
  const bundle = await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts")],
    target: "bun",
    outdir: temporaryDirectory(),
    plugins: [
      {
        name: "one wrong line",
        setup: (build) =>
          void build.onLoad({ filter: /\.ts$/ }, (module) => {
            if (module.path !== path) return undefined;
            isReplaced = true;
            return { contents, loader: "ts" };
          }),
      },
    ],
  });
  if (!isReplaced) throw new Error(`${file} is not part of the program`);
  return [process.execPath, "--config=/dev/null", "--no-env-file", bundle.outputs[0]!.path];
}

type Wrong = [what: string, kinds: readonly Kind[], file: string, line: string, wrong: string, fault: RegExp];

const WRONG: Wrong[] = [
  [
    "the client's Authorization stays",
    ["request"],
    "src/proxy/upstream.ts",
    'headers.set("authorization", authorization.exposeForUpstream());',
    'if (!headers.has("authorization")) headers.set("authorization", authorization.exposeForUpstream());',
    /Authorization that is not the proxy's/,
  ],
  [
    "hop-by-hop fields stay",
    ["request"],
    "src/proxy/headers.ts",
    "for (const name of HOP_BY_HOP) headers.delete(name);",
    "",
    /hop-by-hop field|Connection field/,
  ],
  [
    "the fields that Connection names stay",
    ["request"],
    "src/proxy/headers.ts",
    "if (named !== null) dropNamed(headers, named);",
    "",
    /which Connection names/,
  ],
  [
    "every path is the route",
    ["request"],
    "src/server/server.ts",
    "onOther: (request) => refused(request, refusalOfTarget(request))",
    "onOther: ((...both: [Request, never]) => handlers.onResponses(...both)) as never",
    /did not send, or should not have/,
  ],
  [
    "every Host may pass",
    ["request"],
    "src/proxy/policy.ts",
    "return refuseForeignHost(head) ?? refuseBrowserRequests(head);",
    "return refuseBrowserRequests(head);",
    /did not send, or should not have/,
  ],
  [
    "an unframed answer is passed on",
    ANSWERS,
    "src/proxy/headers.ts",
    "if (status === 204 || status === 304) return true;",
    "return true;",
    /as whole what the upstream broke off/,
  ],
  [
    "fields for web pages are passed on",
    ANSWERS,
    "src/proxy/headers.ts",
    "for (const name of CROSS_ORIGIN) upstream.delete(name);",
    "",
    /client got the field access-control-/,
  ],
  [
    "the error of a cancelled body is not caught",
    ANSWERS,
    "src/proxy/forward.ts",
    "answer.body?.cancel().catch(() => {});",
    "void answer.body?.cancel();",
    /the proxy has ended \(70\)/,
  ],
  [
    "an upstream's fault is reported as the proxy's",
    ANSWERS,
    "src/proxy/failures.ts",
    "if (!(error instanceof UpstreamFault)) {",
    "{",
    /status 500 from the proxy itself/,
  ],
  [
    "answers repeat the key",
    ANSWERS,
    "src/proxy/upstream.ts",
    "    return answer;\n",
    '    answer.headers.set("x-sent", headers.get("authorization")!);\n    return answer;\n',
    /the key is in an answer/,
  ],
];

describe("detected within as many cases", () => {
  test.each(WRONG)("%s", async (_what, kinds, file, line, wrong, fault) => {
    const command = await programWith(file, line, wrong);
    const { failures } = await fuzz({ kinds, cases: CASES, seed: 1, command, patience: 1, lanes: FEW_LANES });
    expect(failures[0]?.fault).toMatch(fault);
  });

  test("the neighbour: the unchanged copy", async () => {
    const command = await programWith(
      "src/proxy/headers.ts",
      "dropHopByHop(upstream);",
      "dropHopByHop(upstream);",
    );
    const { failures, cases } = await fuzz({
      kinds: ["request", ...ANSWERS],
      cases: 200,
      seed: 1,
      command,
      lanes: FEW_LANES,
    });
    expect({ cases, failures: failures.map(describeFailure) }).toEqual({ cases: 200, failures: [] });
  });
});

/** Answers that once made the program exit with code 70. */
const FOUND: [what: string, bytes: string, ending: Ending][] = [
  ["a status below 100, and its body broken off", "HTTP/1.1 099 No\r\nContent-Length: 9\r\n\r\nok", "end"],
  ["the same by a reset", "HTTP/1.1 099 No\r\nContent-Length: 9\r\n\r\nok", "reset"],
  ["the same in chunks", "HTTP/1.1 099 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", "reset"],
];

test.each(FOUND)("found once: %s", async (_what, bytes, ending) => {
  expect(await replay({ kind: "answer", writes: [bytes], ending, from: "found once" })).toEqual([]);
});

describe("a case", () => {
  test("is the same for the same seed and number, and different for others", () => {
    const texts = [1, 1, 2].map((seed) => toText(makeCase("request", seed, 7)));
    expect(texts[0]).toBe(texts[1]!);
    expect(texts[0]).not.toBe(texts[2]!);
  });

  test("is the same again from its text", () => {
    for (let number = 0; number < 50; number++) {
      const text = toText(makeCase("answer", 1, number));
      expect(toText(fromText(text))).toBe(text);
    }
  });

  test("that fails once fails when it is replayed", async () => {
    const [, , file, line, wrong, fault] = WRONG[0]!;
    const command = await programWith(file, line, wrong);
    const { failures } = await fuzz({
      kinds: ["request"],
      cases: CASES,
      seed: 1,
      command,
      patience: 1,
      lanes: FEW_LANES,
    });
    const [, text] = /npm run fuzz -- --replay (\S+)$/.exec(describeFailure(failures[0]!))!;
    expect((await replay(fromText(text!), { command, times: 1 })).join("\n")).toMatch(fault);
  });
});
