import { describe, expect, it } from "vitest";
import { choosePortion, matchesTag } from "./download.ts";

const TAG = '"abc"';
const NOTHING = { range: undefined, ifRange: undefined, ifNoneMatch: undefined };

describe("of a file of 10 bytes", () => {
  it.each([
    [undefined, { kind: "whole" }],
    ["bytes=0-4", { kind: "part", from: 0, to: 4 }],
    ["bytes=5-", { kind: "part", from: 5, to: 9 }],
    ["bytes=-3", { kind: "part", from: 7, to: 9 }],
    ["bytes=-30", { kind: "part", from: 0, to: 9 }],
    ["bytes=9-9", { kind: "part", from: 9, to: 9 }],
    ["bytes=0-999999", { kind: "part", from: 0, to: 9 }],
    ["BYTES = 1-2", { kind: "part", from: 1, to: 2 }],
    ["bytes=10-", { kind: "unsatisfiable" }],
    ["bytes=-0", { kind: "unsatisfiable" }],
    ["bytes=4-2", { kind: "unsatisfiable" }],
    ["bytes=-", { kind: "unsatisfiable" }],
    ["bytes=x", { kind: "unsatisfiable" }],
    ["bytes=0-1,3-4", { kind: "whole" }],
    ["items=0-1", { kind: "whole" }],
  ])("Range %j gets %j", (range, portion) => {
    expect(choosePortion({ ...NOTHING, range }, 10, TAG)).toEqual(portion);
  });
});

it("no range of an empty file can be satisfied", () => {
  expect(choosePortion({ ...NOTHING, range: "bytes=0-" }, 0, TAG)).toEqual({ kind: "unsatisfiable" });
  expect(choosePortion(NOTHING, 0, TAG)).toEqual({ kind: "whole" });
});

it.each([
  [TAG, "part"],
  ['"other"', "whole"],
  ['W/"abc"', "whole"],
  ["Mon, 23 Nov 2026 21:58:27 GMT", "whole"],
])("If-Range %s gets the %s", (ifRange, kind) => {
  expect(choosePortion({ ...NOTHING, range: "bytes=0-1", ifRange }, 10, TAG)).toMatchObject({ kind });
});

it.each([
  [TAG, TAG, true],
  ['W/"abc"', TAG, true],
  ["*", TAG, true],
  ['"x", W/"abc"', TAG, true],
  [TAG, 'W/"abc"', true],
  ['"x"', TAG, false],
  ['"ab"', TAG, false],
  ["abc", TAG, false],
  [undefined, TAG, false],
])("If-None-Match %j matches %j: %s", (ifNoneMatch, tag, matches) => {
  expect(matchesTag(ifNoneMatch, tag)).toBe(matches);
});

it("a file that the caller has already is not sent, not even a part of it", () => {
  const asked = { range: "bytes=0-1", ifRange: undefined, ifNoneMatch: TAG };
  expect(choosePortion(asked, 10, TAG)).toEqual({ kind: "not-modified" });
});
