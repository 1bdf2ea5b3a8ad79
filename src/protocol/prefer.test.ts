import fc from "fast-check";
import { expect, test } from "vitest";
import { type Preferences, parsePrefer, preferenceApplied } from "./prefer.ts";

const nothing: Preferences = { respondAsync: false, waitSeconds: null, handling: null, return: null };

const cases: readonly (readonly [string | undefined, Partial<Preferences>])[] = [
  [undefined, {}],
  ["", {}],
  [" , ,", {}],
  ["respond-async", { respondAsync: true }],
  ["Respond-Async", { respondAsync: true }],
  ["respond-async, wait=10", { respondAsync: true, waitSeconds: 10 }],
  ["wait=10,respond-async", { respondAsync: true, waitSeconds: 10 }],
  ["wait", { waitSeconds: "default" }],
  ['wait=""', { waitSeconds: "default" }],
  ["wait=0", { waitSeconds: 0 }],
  ["wait = 7", { waitSeconds: 7 }],
  ['wait="7"', { waitSeconds: 7 }],
  ['wait="\\7"', { waitSeconds: 7 }],
  ["wait=5; reason=x; q", { waitSeconds: 5 }],
  ["wait;x=5", { waitSeconds: "default" }],
  ["wait=5, wait=9", { waitSeconds: 5 }],
  ["wait, wait=9", { waitSeconds: "default" }],
  ["wait=99999999999999999999", { waitSeconds: 999_999_999 }],
  ["wait=-1", {}],
  ["wait=1.5", {}],
  ["wait=soon, wait=3", { waitSeconds: 3 }],
  ['wait="5', {}],
  ['wait="5"6', {}],
  ["respond-async=false", {}],
  ['foo="a, wait=9"; bar, wait=3', { waitSeconds: 3 }],
  ['foo="a\\", wait=9", wait=3', { waitSeconds: 3 }],
  ["handling=strict, return=minimal", { handling: "strict", return: "minimal" }],
  ["HANDLING=Lenient, Return=Representation", { handling: "lenient", return: "representation" }],
  ["handling=lenient, handling=strict", { handling: "lenient" }],
  ["handling=loose, return", {}],
  ["waiter=5, xrespond-async", {}],
  ["=5, ;wait=5", {}],
];

test.each(cases)("Prefer: %s means %j", (header, expected) => {
  expect(parsePrefer(header)).toEqual({ ...nothing, ...expected });
});

test("any header is read without throwing and yields only known values", () => {
  const piece = fc.constantFrom(
    "wait",
    "=",
    "5",
    '"',
    "\\",
    ",",
    ";",
    " ",
    "respond-async",
    "handling",
    "strict",
    "x",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const read = parsePrefer(pieces.join(""));
      expect(typeof read.respondAsync).toBe("boolean");
      expect([null, "strict", "lenient"]).toContain(read.handling);
      expect(read.waitSeconds === null || read.waitSeconds === "default" || read.waitSeconds >= 0).toBe(true);
    }),
  );
});

test("preferences in any order after any unknown ones are found", () => {
  const unknown = fc.constantFrom("foo", "foo=bar", 'foo="a;b,c"', "depth-noroot; x=1");
  fc.assert(
    fc.property(fc.array(unknown), fc.nat({ max: 1000 }), (before, wait) => {
      const header = [...before, `wait=${wait}`, "respond-async"].join(", ");
      expect(parsePrefer(header)).toEqual({ ...nothing, respondAsync: true, waitSeconds: wait });
    }),
  );
});

test("Preference-Applied names what was honoured, separated by commas", () => {
  expect(preferenceApplied(["respond-async"])).toBe("respond-async");
  expect(preferenceApplied(["respond-async", "wait"])).toBe("respond-async, wait");
});
