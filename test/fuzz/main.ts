// `npm run fuzz -- [--cases N] [--seed S] [--replay FILE|HEX]`: mutated requests and answers through the compiled program.

import { parseArgs } from "node:util";

import { fromText } from "./cases.ts";
import { describeFailure, fuzz, replay } from "./fuzz.ts";

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "10000" },
    seed: { type: "string", default: `${Date.now() % 1_000_000_000}` },
    replay: { type: "string" },
  },
});

if (values.replay === undefined) {
  const [cases, seed] = [numberOf("cases"), numberOf("seed")];
  const kinds = ["request", "answer", "request", "answer", "request", "early"] as const;
  const { failures, ...counts } = await fuzz({ kinds, cases, seed });
  for (const failure of failures) console.log(describeFailure(failure));
  const seconds = counts.seconds.toFixed(1);
  const reached = `${counts.reached} reached the upstream, ${counts.refused} did not`;
  console.log(
    `seed ${seed}: ${counts.cases} cases (half requests, half answers): ${reached}; ${failures.length} failed; ${seconds} s`,
  );
  process.exitCode = failures.length > 0 ? 1 : 0;
} else {
  const faults = await replay(fromText(values.replay));
  console.log(faults.length > 0 ? faults.join("\n") : "nothing was violated");
  process.exitCode = faults.length > 0 ? 1 : 0;
}

/** Throws if the flag is not a number: a run of no cases would pass. */
function numberOf(flag: "cases" | "seed"): number {
  if (!/^\d{1,15}$/.test(values[flag])) throw new Error(`--${flag} must be a number, not '${values[flag]}'`);
  return Number(values[flag]);
}
