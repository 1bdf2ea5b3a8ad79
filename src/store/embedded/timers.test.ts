import fc from "fast-check";
import { expect, test } from "vitest";
import { Timers } from "./timers.ts";

test("rows come in the order of their times, whatever the order they were added in", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({
            do: fc.constant("add" as const),
            time: fc.integer({ min: 0, max: 20 }),
            row: fc.integer({ min: 1, max: 100 }),
          }),
          fc.record({ do: fc.constant("take" as const), now: fc.integer({ min: 0, max: 20 }) }),
        ),
        { maxLength: 150, size: "max" },
      ),
      (doings) => {
        const timers = new Timers();
        const model: { time: number; row: number }[] = [];
        for (const one of doings) {
          if (one.do === "add") {
            timers.add(one.time, one.row);
            model.push({ time: one.time, row: one.row });
          } else {
            const row = timers.take(one.now);
            const earliest = Math.min(...model.map(({ time }) => time));
            if (earliest > one.now) expect(row).toBe(0);
            else {
              // Of those that are due at the same time, any.
              const at = model.findIndex((other) => other.time === earliest && other.row === row);
              expect(at).toBeGreaterThanOrEqual(0);
              model.splice(at, 1);
            }
          }
          expect(timers.size).toBe(model.length);
          expect(timers.nextAt()).toBe(
            model.length === 0 ? null : Math.min(...model.map(({ time }) => time)),
          );
        }
      },
    ),
    { numRuns: 120 },
  );
});

test("30,000 timers are taken in order after growing, and shrinking loses none", () => {
  const timers = new Timers();
  const count = 30_000;
  const timeOf = (row: number) => Math.imul(row, 0x9e37_79b1) >>> 8;
  for (let row = 1; row <= count; row++) timers.add(timeOf(row), row);
  const taken = new Set<number>();
  let last = -1;
  for (
    let row = timers.take(Number.MAX_SAFE_INTEGER);
    row !== 0;
    row = timers.take(Number.MAX_SAFE_INTEGER)
  ) {
    expect(timeOf(row)).toBeGreaterThanOrEqual(last);
    last = timeOf(row);
    taken.add(row);
  }
  expect(taken.size).toBe(count);
  expect([timers.size, timers.nextAt()]).toEqual([0, null]);
  timers.add(5, 9);
  expect(timers.take(4)).toBe(0);
  expect(timers.take(5)).toBe(9);
});
