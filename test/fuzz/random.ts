// A seeded generator of random numbers: the same seed and case number give the same case, on any machine.

export class Random {
  #state: number;

  /** Each case has its own generator, so that it can run without the cases before it. */
  constructor(...seed: readonly (number | string)[]) {
    this.#state = Number(BigInt.asUintN(32, BigInt(Bun.hash(seed.join("/")))));
  }

  /** From 0 to below 1 (mulberry32). */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.#next() * end);
  }

  /** True in one of `n` cases. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}
