import fc from "fast-check";
import { expect, test } from "vitest";
import { type Preferences, parsePrefer, preferenceApplied, unmetPreference } from "./prefer.ts";

const nothing: Preferences = {
  respondAsync: false,
  waitSeconds: null,
  handling: null,
  return: null,
  unknownAt: 0,
};

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
  ["wait=-1", { unknownAt: 1 }],
  ["wait=1.5", { unknownAt: 1 }],
  ["wait=soon, wait=3", { waitSeconds: 3, unknownAt: 1 }],
  ["wait=3, wait=soon", { waitSeconds: 3, unknownAt: 2 }],
  ['wait="5', { unknownAt: 1 }],
  ['wait="5"6', { unknownAt: 1 }],
  ["respond-async=false", { unknownAt: 1 }],
  ['foo="a, wait=9"; bar, wait=3', { waitSeconds: 3, unknownAt: 1 }],
  ['foo="a\\", wait=9", wait=3', { waitSeconds: 3, unknownAt: 1 }],
  ["wait=3,, foo, bar", { waitSeconds: 3, unknownAt: 3 }],
  ["handling=strict, return=minimal", { handling: "strict", return: "minimal" }],
  ["HANDLING=Lenient, Return=Representation", { handling: "lenient", return: "representation" }],
  ["handling=lenient, handling=strict", { handling: "lenient" }],
  ["handling=strict, handling=loose", { handling: "strict", unknownAt: 2 }],
  ["handling=loose, return", { unknownAt: 1 }],
  ["waiter=5, xrespond-async", { unknownAt: 1 }],
  ["=5, ;wait=5", { unknownAt: 1 }],
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
      const unknownAt = before.length === 0 ? 0 : 1;
      expect(parsePrefer(header)).toEqual({ ...nothing, respondAsync: true, waitSeconds: wait, unknownAt });
    }),
  );
});

test.each([
  ["wait=5, foo", null],
  ["handling=lenient, foo", null],
  ["handling=strict", null],
  ["handling=strict, wait=5; reason=x, wait=6", null],
  ["handling=strict, return=minimal", null],
  ["foo, handling=strict", "handling=strict: preference 1 is not known here."],
  ["handling=strict, wait=5, canary=1942", "handling=strict: preference 3 is not known here."],
  ["handling=strict, wait=soon", "handling=strict: preference 2 is not known here."],
  ["handling=strict, respond-async", "handling=strict: respond-async is not understood here."],
  [
    "handling=strict, return=representation",
    "handling=strict: return=representation is not understood here.",
  ],
])("Prefer: %s is met, or what of it is not is said without repeating it: %s", (header, unmet) => {
  const said = unmetPreference(parsePrefer(header), ["wait", "return=minimal", "handling"]);
  expect(said).toBe(unmet === null ? null : `${unmet} It takes wait, return=minimal, handling.`);
});

test("Preference-Applied names what was honoured, separated by commas", () => {
  expect(preferenceApplied(["respond-async"])).toBe("respond-async");
  expect(preferenceApplied(["respond-async", "wait"])).toBe("respond-async, wait");
});
