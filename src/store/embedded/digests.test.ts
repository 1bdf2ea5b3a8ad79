import fc from "fast-check";
import { expect, test } from "vitest";
import { Digests } from "./digests.ts";

const any = () => true;

/** 32 hex characters; only the first 16 are held, so the rest may tell apart what looks the same. */
function digestOf(high: number, low: number, rest = 0): string {
  const hex = (number: number) => (number >>> 0).toString(16).padStart(8, "0");
  return hex(high) + hex(low) + hex(rest) + hex(0);
}

// Few digests that collide in their slot (the low half) or in all that is held.
const digest = fc
  .record({ high: fc.integer({ min: 0, max: 3 }), low: fc.constantFrom(0, 1, 1024, 2048, 0xffff_ffff) })
  .map(({ high, low }) => digestOf(high, low));

const doing = fc.record({
  do: fc.constantFrom("add" as const, "add" as const, "remove" as const),
  digest,
  row: fc.integer({ min: 1, max: 8 }),
});

test("digests do what a map does, collisions included", () => {
  fc.assert(
    fc.property(fc.array(doing, { maxLength: 80, size: "max" }), (doings) => {
      const digests = new Digests();
      const model = new Map<string, Set<number>>();
      let size = 0;
      for (const one of doings) {
        const rows = model.get(one.digest) ?? new Set<number>();
        model.set(one.digest, rows);
        if (one.do === "add") {
          if (rows.has(one.row)) continue;
          digests.add(one.digest, one.row);
          rows.add(one.row);
          size++;
        } else {
          digests.remove(one.digest, one.row);
          if (rows.delete(one.row)) size--;
        }
        expect(digests.size).toBe(size);
        for (const [known, held] of model) {
          expect(digests.find(known, any) !== 0).toBe(held.size > 0);
          for (const row of held) expect(digests.find(known, (candidate) => candidate === row)).toBe(row);
          expect(digests.find(known, (candidate) => !held.has(candidate))).toBe(0);
        }
      }
    }),
    { numRuns: 60 },
  );
});

/** Spread as a hash is. */
function spread(index: number): string {
  const mixed = Math.imul(index, 0x9e37_79b1);
  return digestOf(Math.imul(mixed ^ (mixed >>> 15), 0x85eb_ca6b), mixed);
}

test("20,000 digests are found after growing, and none once all are removed", () => {
  const digests = new Digests();
  const count = 20_000;
  for (let row = 1; row <= count; row++) digests.add(spread(row), row);
  expect(digests.size).toBe(count);
  for (let row = 1; row <= count; row++) {
    expect(digests.find(spread(row), (candidate) => candidate === row)).toBe(row);
  }
  for (let row = 1; row <= count; row++) digests.remove(spread(row), row);
  expect(digests.size).toBe(0);
  for (let row = 1; row <= count; row += 13) expect(digests.find(spread(row), any)).toBe(0);
});

test("a small number of digests that come and go for long stay findable", () => {
  const digests = new Digests();
  for (let row = 1; row <= 50_000; row++) {
    digests.add(spread(row), row);
    if (row > 100) digests.remove(spread(row - 100), row - 100);
  }
  expect(digests.size).toBe(100);
  for (let row = 49_901; row <= 50_000; row++) expect(digests.find(spread(row), any)).toBe(row);
  expect(digests.find(spread(49_900), any)).toBe(0);
});

test("removing what is not there changes nothing", () => {
  const digests = new Digests();
  digests.add(spread(1), 1);
  digests.remove(spread(1), 2);
  digests.remove(spread(2), 1);
  expect(digests.size).toBe(1);
  expect(digests.find(spread(1), any)).toBe(1);
});
