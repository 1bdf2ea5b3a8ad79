import fc from "fast-check";
import { expect, test } from "vitest";
import { type Backoff, backoffMs, DEFAULT_BACKOFF } from "./retry.ts";

const backoffs: fc.Arbitrary<Backoff> = fc.record({
  kind: fc.constantFrom("exponential", "linear", "fixed"),
  baseMs: fc.nat({ max: 1e7 }),
  maxMs: fc.nat({ max: 1e9 }),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
});
const failures = fc.integer({ min: 1, max: 1_000_000 });
const dice = fc.double({ min: 0, max: 1, noNaN: true });

test("a wait is a whole number of milliseconds between 0 and its bound", () => {
  fc.assert(
    fc.property(backoffs, failures, dice, (backoff, count, roll) => {
      const ms = backoffMs(backoff, count, roll);
      expect(Number.isInteger(ms)).toBe(true);
      expect(ms).toBeGreaterThanOrEqual(0);
      expect(ms).toBeLessThanOrEqual(backoff.maxMs);
    }),
  );
});

test("more failures never wait shorter with equal dice", () => {
  fc.assert(
    fc.property(backoffs, failures, failures, dice, (backoff, one, other, roll) => {
      const few = backoffMs(backoff, Math.min(one, other), roll);
      expect(backoffMs(backoff, Math.max(one, other), roll)).toBeGreaterThanOrEqual(few);
    }),
  );
});

test("the random share lies below the whole wait", () => {
  fc.assert(
    fc.property(backoffs, failures, dice, (backoff, count, roll) => {
      const whole = backoffMs({ ...backoff, jitter: 0 }, count, roll);
      const ms = backoffMs(backoff, count, roll);
      expect(ms).toBeLessThanOrEqual(whole);
      expect(ms).toBeGreaterThanOrEqual(Math.floor(whole * (1 - backoff.jitter)) - 1);
    }),
  );
});

test("the default doubles from one second to five minutes", () => {
  const whole = [1, 2, 3, 4, 9, 10, 1000].map((count) => backoffMs(DEFAULT_BACKOFF, count, 1));
  expect(whole).toEqual([1000, 2000, 4000, 8000, 256_000, 300_000, 300_000]);
  expect(backoffMs(DEFAULT_BACKOFF, 1, 0)).toBe(500);
});

test("a linear wait grows by its base and a fixed one does not grow", () => {
  const base = { baseMs: 300, maxMs: 1000, jitter: 0 };
  expect([1, 2, 3, 4].map((count) => backoffMs({ kind: "linear", ...base }, count, 0))).toEqual([
    300, 600, 900, 1000,
  ]);
  expect([1, 2, 9].map((count) => backoffMs({ kind: "fixed", ...base }, count, 0))).toEqual([300, 300, 300]);
});
