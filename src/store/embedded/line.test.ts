import fc from "fast-check";
import { expect, test } from "vitest";
import { Line } from "./line.ts";

interface Entry {
  readonly turn: number;
  readonly row: number;
}

/** The same as a `Line`, done naively. */
class Model {
  entries: Entry[] = [];

  add(turn: number, row: number): void {
    if (this.has(turn, row)) return;
    this.entries.push({ turn, row });
    this.entries.sort((a, b) => a.turn - b.turn || a.row - b.row);
  }
  has(turn: number, row: number): boolean {
    return this.entries.some((entry) => entry.turn === turn && entry.row === row);
  }
  remove(turn: number, row: number): boolean {
    const stood = this.has(turn, row);
    this.entries = this.entries.filter((entry) => entry.turn !== turn || entry.row !== row);
    return stood;
  }
  rank(turn: number, row: number): number {
    return this.entries.filter((entry) => entry.turn < turn || (entry.turn === turn && entry.row < row))
      .length;
  }
}

// Few turns and rows, so that the same ones meet often; fractions, as weights make them.
const entry = fc.record({
  turn: fc.integer({ min: 0, max: 12 }).map((third) => third / 3),
  row: fc.integer({ min: 1, max: 12 }),
});

const doing = fc.oneof(
  { weight: 5, arbitrary: entry.map((one) => ({ do: "add" as const, ...one })) },
  { weight: 3, arbitrary: entry.map((one) => ({ do: "remove" as const, ...one })) },
  { weight: 2, arbitrary: fc.constant({ do: "take" as const }) },
);

test("a line does what a sorted array does", () => {
  fc.assert(
    fc.property(fc.array(doing, { maxLength: 120, size: "max" }), entry, (doings, asked) => {
      const line = new Line();
      const model = new Model();
      for (const one of doings) {
        if (one.do === "add") {
          line.add(one.turn, one.row);
          model.add(one.turn, one.row);
        } else if (one.do === "remove") {
          expect(line.remove(one.turn, one.row)).toBe(model.remove(one.turn, one.row));
        } else {
          const first = line.first();
          expect(first).toEqual(model.entries[0] ?? null);
          if (first !== null) {
            expect(line.remove(first.turn, first.row)).toBe(true);
            model.remove(first.turn, first.row);
          }
        }
        expect(line.length).toBe(model.entries.length);
        expect(line.rank(asked.turn, asked.row)).toBe(model.rank(asked.turn, asked.row));
        expect(line.has(asked.turn, asked.row)).toBe(model.has(asked.turn, asked.row));
      }
    }),
    { numRuns: 120 },
  );
});

// Sizes at which chunks fill, split and become many.
const SIZES = [15, 16, 17, 64, 1023, 1024, 1025, 2049, 5000];

/** The numbers 1 to `count` in an order that a seed replays. */
function shuffled(count: number, seed: number): number[] {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  let state = seed;
  for (let at = count - 1; at > 0; at--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = state % (at + 1);
    [numbers[at], numbers[other]] = [numbers[other] as number, numbers[at] as number];
  }
  return numbers;
}

const orders = {
  "in order": (count: number) => Array.from({ length: count }, (_, index) => index + 1),
  "in reverse": (count: number) => Array.from({ length: count }, (_, index) => count - index),
  "at random": (count: number) => shuffled(count, 7),
};

for (const [name, order] of Object.entries(orders)) {
  test.each(SIZES)(`%i rows that come ${name} stand at their exact places, and leave one by one`, (count) => {
    const line = new Line();
    // Two rows a turn, so that the row decides as often as the turn.
    const turnOf = (row: number) => Math.floor(row / 2);
    for (const row of order(count)) line.add(turnOf(row), row);
    expect(line.length).toBe(count);
    for (let row = 1; row <= count; row += 7) {
      expect(line.rank(turnOf(row), row)).toBe(row - 1);
      expect(line.has(turnOf(row), row)).toBe(true);
      expect(line.has(turnOf(row), row + count)).toBe(false);
    }
    expect(line.rank(count, 0)).toBe(count);
    for (let row = 1; row <= count; row++) {
      expect(line.first()).toEqual({ turn: turnOf(row), row });
      expect(line.remove(turnOf(row), row)).toBe(true);
    }
    expect(line.length).toBe(0);
    expect(line.first()).toBeNull();
    line.add(5, 5);
    expect(line.first()).toEqual({ turn: 5, row: 5 });
  });
}

test("rows that leave from the middle at random leave exact places behind, down to the last", () => {
  const count = 4000;
  const line = new Line();
  for (const row of shuffled(count, 1)) line.add(row, row);
  const gone = new Set<number>();
  for (const [index, row] of shuffled(count, 2).entries()) {
    expect(line.remove(row, row)).toBe(true);
    expect(line.remove(row, row)).toBe(false);
    gone.add(row);
    if (index % 97 !== 0) continue;
    const asked = (index * 31) % count;
    let before = 0;
    for (let other = 1; other < asked; other++) if (!gone.has(other)) before++;
    expect(line.rank(asked, asked)).toBe(before);
  }
  expect([line.length, line.first()]).toEqual([0, null]);
});

test("a line that is served at its head while others arrive in its middle stays in order", () => {
  const line = new Line();
  const model: number[] = [];
  let state = 3;
  for (let row = 1; row <= 6000; row++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const turn = Math.floor(row / 4) + (state % 700);
    line.add(turn, row);
    model.push(turn * 1e6 + row);
    if (row % 3 === 0) {
      model.sort((a, b) => a - b);
      const first = line.first();
      expect((first?.turn ?? 0) * 1e6 + (first?.row ?? 0)).toBe(model.shift());
      if (first !== null) line.remove(first.turn, first.row);
    }
  }
  expect(line.length).toBe(model.length);
});

test("what stands there already is not added twice", () => {
  const line = new Line();
  for (let round = 0; round < 2; round++) for (let row = 1; row <= 3000; row++) line.add(row % 10, row);
  expect(line.length).toBe(3000);
});
