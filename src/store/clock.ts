// The clock that a store decides by. Tests and simulations move it; it is shared with the store's thread.

import { performance } from "node:perf_hooks";
import type { Moment } from "../core/machine.ts";

export interface Clock {
  moment(): Moment;
  /** The wall clock is set forward or back, as by an operator or NTP; no time passes. */
  step(ms: number): void;
  /** Time passes, on every clock. */
  pass(ms: number): void;
  /** Hands the clock to a thread. */
  readonly shared: SharedArrayBuffer;
}

/** The system's clock, moved by what `step` and `pass` say. */
export function createClock(shared = new SharedArrayBuffer(24)): Clock {
  const [STEPPED, PASSED, ORIGIN] = [0, 1, 2];
  const state = new Float64Array(shared);
  const sinceMs = () => performance.timeOrigin + performance.now();
  // The first to hold it says how far the wall clock is from the one that only goes forward.
  if (state[ORIGIN] === 0) state[ORIGIN] = Date.now() - sinceMs();
  const at = (index: number) => state[index] ?? 0;
  return {
    shared,
    moment() {
      return {
        now: Date.now() + at(STEPPED) + at(PASSED),
        // A wall clock that ran ahead must not make anything be deleted early.
        steadyNow: Math.floor(sinceMs() + at(ORIGIN) + at(PASSED)),
        dice: Math.random(),
      };
    },
    step(ms) {
      state[STEPPED] = at(STEPPED) + ms;
    },
    pass(ms) {
      state[PASSED] = at(PASSED) + ms;
    },
  };
}
