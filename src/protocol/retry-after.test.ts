import fc from "fast-check";
import { expect, test } from "vitest";
import { formatRetryAfter, parseRetryAfter } from "./retry-after.ts";

const now = Date.parse("2026-03-01T12:00:00Z");

test.each([
  [1, "1"],
  [0, "1"],
  [-3, "1"],
  [Number.NaN, "1"],
  [1.2, "2"],
  [59.999, "60"],
  [120, "120"],
  [Number.POSITIVE_INFINITY, "86400"],
])("%d seconds are written as %j", (seconds, text) => {
  expect(formatRetryAfter(seconds)).toBe(text);
});

test.each([
  ["0", 0],
  ["120", 120],
  [" 7 ", 7],
  ["999999999999999999999", 86_400],
  ["Sun, 01 Mar 2026 12:00:30 GMT", 30],
  ["Sunday, 01-Mar-26 12:01:00 GMT", 60],
  ["Sun Mar  1 12:00:05 2026", 5],
  ["Sun, 01 Mar 2026 11:00:00 GMT", 0],
  ["Tue, 01 Mar 2050 12:00:00 GMT", 86_400],
])("%j asks for %d seconds", (value, seconds) => {
  expect(parseRetryAfter(value, now)).toBe(seconds);
});

test.each([
  null,
  undefined,
  "",
  "-1",
  "1.5",
  "1e3",
  "soon",
  "2026-03-01",
  "Sun, 99 Mar 2026 12:00:00 GMT",
  "Sun, 01 Mar 2026 12:00:00",
])("%j is no Retry-After", (value) => {
  expect(parseRetryAfter(value, now)).toBeNull();
});

test("what is written reads back", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 86_400 }), (seconds) => {
      expect(parseRetryAfter(formatRetryAfter(seconds), now)).toBe(seconds);
    }),
  );
});

test("an HTTP date within a day reads as the seconds until then", () => {
  fc.assert(
    fc.property(fc.nat({ max: 86_400 }), (seconds) => {
      expect(parseRetryAfter(new Date(now + seconds * 1000).toUTCString(), now)).toBe(seconds);
    }),
  );
});
