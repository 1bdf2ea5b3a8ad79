import fc from "fast-check";
import { expect, test } from "vitest";
import { formatDuration, parseDuration } from "./duration.ts";

test.each([
  [0, 0],
  [1500, 1500],
  ["250ms", 250],
  ["0s", 0],
  ["15s", 15_000],
  ["5m", 300_000],
  ["24h", 86_400_000],
  ["30d", 2_592_000_000],
  ["1h30m", 5_400_000],
  ["1d2h3m4s5ms", 93_784_005],
  [" 15s ", 15_000],
])("the duration %j is %d milliseconds", (value, ms) => {
  expect(parseDuration(value, "leaseMs")).toBe(ms);
});

test.each([
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  "",
  " ",
  "15",
  "s",
  "1.5h",
  "-5s",
  "30m1h",
  "1h1h",
  "5 minutes",
  "99999999999999999d",
  "999999999999999d",
  null as unknown as string,
])("%j is refused as a duration with a sentence that names the setting", (value) => {
  expect(() => parseDuration(value, "retention")).toThrow(RangeError);
  expect(() => parseDuration(value, "retention")).toThrow(/^retention must be a duration: .*\.$/);
});

test("every whole number of milliseconds reads back from its written form", () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 1e9 }),
      (ms) => parseDuration(`${ms}ms`, "x") === ms && parseDuration(ms, "x") === ms,
    ),
  );
});

test.each([
  [0, "0 s"],
  [-5, "0 s"],
  [0.2, "1 ms"],
  [250, "250 ms"],
  [999.7, "1 s"],
  [2400, "2.4 s"],
  [59_940, "59.9 s"],
  [59_960, "1 min"],
  [303_000, "5 min 3 s"],
  [3_599_600, "1 h"],
  [5_400_000, "1 h 30 min"],
  [86_399_999, "1 d"],
  [273_600_000, "3 d 4 h"],
  [2_592_000_000, "30 d"],
])("%d milliseconds read as %j", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
