import fc from "fast-check";
import { expect, test } from "vitest";
import { parseIdempotencyKey } from "./idempotency-key.ts";

const printable = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 255,
});
const quote = (key: string) => `"${key.replaceAll(/["\\]/g, "\\$&")}"`;

test("no header is no key", () => {
  expect(parseIdempotencyKey([])).toEqual({ kind: "none" });
});

test.each([
  ["k", "k"],
  ['"k"', "k"],
  ["  k\t", "k"],
  ['  "k"  ', "k"],
  ['"k";a=1;b="x, y"', "k"],
  ['"k" ; a', "k"],
  ['"a\\"b\\\\c"', 'a"b\\c'],
  ["a, b", "a, b"],
  ["a;b", "a;b"],
  ["a b", "a b"],
  ['a"b', 'a"b'],
  ["a\\b", "a\\b"],
  ['" k "', " k "],
  ["x".repeat(255), "x".repeat(255)],
  [`"${"x".repeat(255)}"`, "x".repeat(255)],
  [quote('"'.repeat(255)), '"'.repeat(255)],
])("%j is the key %j", (value, key) => {
  expect(parseIdempotencyKey([value])).toEqual({ kind: "key", key });
});

test.each([
  [[""], /empty/],
  [["  \t"], /empty/],
  [['""'], /empty/],
  [["SECRET", "SECRET"], /more than once/],
  [["x".repeat(256)], /longer than 255/],
  [[`"${"x".repeat(256)}"`], /longer than 255/],
  [["x".repeat(100_000)], /longer than 255/],
  [["SECRET\u0000"], /printable/],
  [["SECRET\u007f"], /printable/],
  [["SECRETé"], /printable/],
  [["SEC\tRET"], /printable/],
  [["\u00a0SECRET"], /printable/],
  [['"SECRET'], /does not close/],
  [['"'], /does not close/],
  [['"SECRET\\'], /does not close/],
  [['"SECRET\\"'], /does not close/],
  [['"SEC\\RET"'], /backslash/],
  [['"SECRET", "SECRET"'], /more than one key/],
  [['"SECRET";a=1, "SECRET"'], /more than one key/],
  [['"SECRET"SECRET'], /more than one key/],
])("%j is refused in one sentence that does not echo it", (values, detail) => {
  const read = parseIdempotencyKey(values);
  expect(read).toEqual({ kind: "invalid", detail: expect.stringMatching(detail) });
  if (read.kind === "invalid") {
    expect(read.detail).toMatch(/^[A-Z].*\.$/);
    expect(read.detail).not.toContain("SECRET");
  }
});

test("any printable key reads the same quoted, and bare when it begins with no quote and has no outer spaces", () => {
  fc.assert(
    fc.property(printable, (key) => {
      expect(parseIdempotencyKey([quote(key)])).toEqual({ kind: "key", key });
      if (!key.startsWith('"') && key.trim() === key)
        expect(parseIdempotencyKey([key])).toEqual({ kind: "key", key });
    }),
  );
});

test("whatever is sent, what comes back is a key within the bounds or a refusal", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 300 }), { maxLength: 2 }), (values) => {
      const read = parseIdempotencyKey(values);
      if (read.kind === "key") expect(read.key).toMatch(/^[ -~]{1,255}$/);
      else expect(read.kind).toBe(values.length === 0 ? "none" : "invalid");
    }),
  );
});
