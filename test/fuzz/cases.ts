// A case: the sender's writes, and how its connection ends. `--replay` takes it as text: `request:<hex>.<hex>!reset`.

import { readFileSync } from "node:fs";

import { ANSWER_SEEDS } from "./answers.ts";
import { cut, mutate } from "./mutate.ts";
import { Random } from "./random.ts";
import { REQUEST_SEEDS } from "./requests.ts";

/** Bytes from a client; from an upstream; from an upstream that has only half of the request. */
export type Kind = "request" | "answer" | "early";

/** What the sender does after its last byte: nothing, a FIN, or an RST. */
export type Ending = "stay" | "end" | "reset";

export type Case = { kind: Kind; writes: string[]; ending: Ending; from: string };

/** Returns the case with this number; the same for the same seed. */
export function makeCase(kind: Kind, seed: number, number: number): Case {
  const random = new Random(seed, kind, number);
  const seeds = kind === "request" ? REQUEST_SEEDS : ANSWER_SEEDS;
  // The first ones pass, so more of their mutations pass as well.
  const [from, bytes] = random.pick(random.oneIn(3) ? seeds.slice(0, 4) : seeds);
  const other = (): string => random.pick(seeds)[1];
  const mutated = random.oneIn(6) ? bytes : mutate(random, bytes, other);
  const ending = random.pick<Ending>(
    kind === "request"
      ? ["stay", "stay", "stay", "stay", "stay", "stay", "end", "reset"]
      : ["stay", "stay", "end", "reset"],
  );
  return { kind, writes: random.oneIn(2) ? [mutated] : cut(random, mutated), ending, from };
}

export const bytesOf = ({ writes }: Case): string => writes.join("");

export function toText({ kind, writes, ending }: Case): string {
  return `${kind}:${writes.map((write) => Buffer.from(write, "latin1").toString("hex")).join(".")}!${ending}`;
}

/** Reads a case from its text, from a file with that text or a request's bytes, or from a request's bytes in hex. */
export function fromText(given: string): Case {
  const text = given.trim();
  const [, kind = "request", hex, ending = "stay"] =
    /^(?:(request|answer|early):)?([0-9a-f.]*)(?:!(stay|end|reset))?$/i.exec(text) ?? [];
  if (hex !== undefined) {
    const writes = hex.split(".").map((write) => Buffer.from(write, "hex").toString("latin1"));
    return { kind: kind as Kind, writes, ending: ending as Ending, from: "replay" };
  }
  const file = readFileSync(text, "latin1");
  return /^(request|answer|early):/.test(file)
    ? fromText(file)
    : { kind: "request", writes: [file], ending: "stay", from: text };
}
