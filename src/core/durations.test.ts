import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Durations,
  emptyDurations,
  learn,
  learnAll,
  meanMs,
  mergeDurations,
  overdueMs,
  quantile,
  remaining,
  untilNextLookMs,
} from "./durations.ts";

const DAY_MS = 86_400_000;
const runs = fc.array(fc.integer({ min: 0, max: 10_000_000 }), { minLength: 1, maxLength: 60 });
const share = fc.double({ min: 0, max: 1, noNaN: true });
const of = (runsMs: readonly number[]) =>
  runsMs.reduce((durations, ms) => learn(durations, ms, 0), emptyDurations());
const weight = (durations: Durations) =>
  durations.buckets.reduce((sum, each, at) => sum + (at % 2 === 1 ? each : 0), 0);

test("nothing is known of an operation that has not run", () => {
  const none = emptyDurations();
  expect([quantile(none, 0.5), meanMs(none), remaining(none, 5, 0.5), untilNextLookMs(none, 5)]).toEqual(
    Array(4).fill(null),
  );
});

test("the quantiles of many equal runs are that duration, to a bucket's width", () => {
  for (const ms of [3, 999, 60_000, 7_200_000]) {
    const durations = of(Array(100).fill(ms));
    for (const q of [0, 0.5, 1]) {
      expect(Math.abs((quantile(durations, q) as number) / ms - 1)).toBeLessThan(0.023);
    }
    expect(Math.abs((meanMs(durations) as number) / ms - 1)).toBeLessThan(0.023);
  }
});

test("quantiles rise with their share and lie about the known runs", () => {
  fc.assert(
    fc.property(runs, share, share, (runsMs, one, other) => {
      const durations = of(runsMs);
      const [low, high] = [Math.min(one, other), Math.max(one, other)];
      const lower = quantile(durations, low) as number;
      expect(quantile(durations, high)).toBeGreaterThanOrEqual(lower);
      expect(lower).toBeGreaterThanOrEqual(Math.min(...runsMs) / 2.1);
      expect(quantile(durations, 1)).toBeLessThanOrEqual(Math.max(1, ...runsMs) * 2.1);
    }),
  );
});

test("half of the weight is gone after 32 runs or seven days", () => {
  const before = of(Array(200).fill(1000));
  const later = Array.from({ length: 32 }).reduce<Durations>((known) => learn(known, 64_000, 0), before);
  expect(quantile(later, 0.45)).toBeLessThan(1100);
  expect(quantile(later, 0.55)).toBeGreaterThan(60_000);
  const rested = learn(before, 64_000, 7 * DAY_MS);
  expect(weight(rested) - 1).toBeCloseTo(weight(before) / 2, 0);
});

test("a run of long ago is forgotten and a clock that steps back forgets nothing", () => {
  const known = learn(of([5000, 5000]), 1000, 365 * DAY_MS);
  expect(known.buckets).toHaveLength(2);
  const back = learn(known, 1000, 0);
  expect(back.at).toBe(known.at);
  expect(weight(back)).toBeGreaterThan(weight(known));
});

test("the histogram stays small whatever runs are learned", () => {
  let known = emptyDurations();
  for (let run = 0; run < 5000; run++) known = learn(known, 2 ** ((run * 7.31) % 40), run);
  expect(JSON.stringify(known).length).toBeLessThan(2500);
  expect(weight(known)).toBeLessThan(47);
});

test("learning runs at once is learning each in turn", () => {
  fc.assert(
    fc.property(runs, runs, (before, after) => {
      const known = of(before);
      const atOnce = learnAll(known, after, DAY_MS);
      const inTurn = after.reduce((durations, ms) => learn(durations, ms, DAY_MS), known);
      expect(atOnce.at).toBe(inTurn.at);
      expect(weight(atOnce)).toBeCloseTo(weight(inTurn), -0.3);
      for (const q of [0.1, 0.5, 0.9]) {
        expect(quantile(atOnce, q)).toBeLessThanOrEqual(
          (quantile(inTurn, Math.min(1, q + 0.05)) as number) * 1.05,
        );
        expect(quantile(atOnce, q)).toBeGreaterThanOrEqual(
          (quantile(inTurn, Math.max(0, q - 0.05)) as number) / 1.05,
        );
      }
    }),
  );
  expect(learnAll(of([5]), [], 9)).toEqual(of([5]));
});

test("histograms that were learned apart merge to one in any order, and survive JSON", () => {
  fc.assert(
    fc.property(runs, runs, fc.nat({ max: 3 * DAY_MS }), (one, other, later) => {
      const left = of(one);
      const right = learn(of(other), 5, later);
      const merged = mergeDurations(left, right);
      expect(mergeDurations(right, left)).toEqual(merged);
      expect(JSON.parse(JSON.stringify(merged))).toEqual(merged);
      expect(merged.at).toBe(later);
      expect(weight(merged)).toBeLessThanOrEqual(weight(left) + weight(right) + 0.2);
      expect(weight(merged)).toBeGreaterThanOrEqual(weight(right));
      expect(mergeDurations(left, emptyDurations())).toEqual(left);
    }),
  );
});

test("what remains of a run is what remains of the runs that took longer", () => {
  const known = of(Array.from({ length: 200 }, (_, run) => (run % 2 === 0 ? 10_000 : 100_000)));
  expect(remaining(known, 0, 0.4)).toBeLessThan(10_500);
  expect(remaining(known, 20_000, 0.5)).toBeGreaterThan(77_000);
  expect(remaining(known, 20_000, 0.5)).toBeLessThan(83_000);
  expect(remaining(known, 300_000, 0.5)).toBe(150_000);
});

test("whatever is known, there is something left of a run and the next look lies ahead", () => {
  fc.assert(
    fc.property(runs, fc.nat({ max: 20_000_000 }), share, (runsMs, elapsedMs, q) => {
      const known = of(runsMs);
      expect(remaining(known, elapsedMs, q)).toBeGreaterThanOrEqual(0);
      expect(untilNextLookMs(known, elapsedMs)).toBeGreaterThanOrEqual(0);
      const longest = Math.max(1000, elapsedMs / 2, ...runsMs) * 2.1;
      expect(untilNextLookMs(known, elapsedMs)).toBeLessThanOrEqual(longest);
    }),
  );
});

test("one look just after the end is planned for runs that are all alike", () => {
  const known = of(Array(100).fill(60_000));
  expect(untilNextLookMs(known, 0)).toBeGreaterThanOrEqual(60_000);
  expect(untilNextLookMs(known, 0)).toBeLessThan(62_800);
  expect(untilNextLookMs(known, 30_000)).toBeLessThan(32_800);
});

test("the plan looks after the short runs before it waits for the long ones", () => {
  const known = of(Array.from({ length: 200 }, (_, run) => (run % 2 === 0 ? 30_000 : 300_000)));
  const first = untilNextLookMs(known, 0) as number;
  expect(first).toBeGreaterThanOrEqual(30_000);
  expect(first).toBeLessThan(32_000);
  expect(first + (untilNextLookMs(known, first) as number)).toBeGreaterThanOrEqual(300_000);
});

test("runs of less than a second are looked at after a second, also when some take longer", () => {
  const known = of(Array.from({ length: 200 }, (_, run) => (run % 4 === 0 ? 60_000 : 5 + run)));
  expect(untilNextLookMs(known, 0)).toBe(1000);
  expect(untilNextLookMs(known, 1000)).toBeGreaterThan(58_000);
  expect(untilNextLookMs(of(Array(50).fill(5)), 0)).toBe(1000);
});

test("an overdue run is looked at ever later", () => {
  expect(overdueMs(100_000, 100_000)).toBe(4000);
  expect(overdueMs(120_000, 100_000)).toBeCloseTo(24_000);
  expect(overdueMs(900_000, 100_000)).toBe(450_000);
});
