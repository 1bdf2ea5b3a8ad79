// Time and dice of the simulator: nothing passes and nothing is thrown but as it says.

import type { Moment } from "../core/machine.ts";
import type { Clock } from "../store/clock.ts";

const START = Date.UTC(2026, 0, 1);

/** Time that passes when it is told to. */
export class VirtualClock implements Clock {
  readonly shared = new SharedArrayBuffer(24);
  steppedMs = 0;
  #passedMs = 0;
  readonly #dice: () => number;

  constructor(dice: () => number) {
    this.#dice = dice;
  }

  moment(): Moment {
    const steadyNow = START + this.#passedMs;
    return { now: steadyNow + this.steppedMs, steadyNow, dice: this.#dice() };
  }

  step(ms: number): void {
    this.steppedMs += ms;
  }

  pass(ms: number): void {
    this.#passedMs += ms;
  }
}

interface Entry {
  readonly atMs: number;
  readonly run: () => unknown;
}

/** What will happen, the next thing last. */
export class Agenda {
  readonly #entries: Entry[] = [];

  add(atMs: number, run: Entry["run"]): void {
    let index = this.#entries.length;
    while (index > 0 && (this.#entries[index - 1] as Entry).atMs <= atMs) index--;
    this.#entries.splice(index, 0, { atMs, run });
  }

  take(): Entry | null {
    return this.#entries.pop() ?? null;
  }
}

/** Mulberry32: small, and enough for dice. Gives 0 ≤ dice < 1, the same ones for the same seed. */
export function diceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
