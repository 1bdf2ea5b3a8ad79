import fc from "fast-check";
import { expect, test } from "vitest";
import { parseJson } from "./json.ts";

const limits = { maxDepth: 64 };
const bytesOf = (text: string) => new TextEncoder().encode(text);
const parse = (text: string) => parseJson(bytesOf(text), limits);
const jsonText = fc.json({ maxDepth: 8 });

/** The name as JSON with every character escaped. */
const escaped = (name: string) =>
  `"${[...Array(name.length).keys()].map((at) => `\\u${name.charCodeAt(at).toString(16).padStart(4, "0")}`).join("")}"`;

function refusal(bytes: Uint8Array): string {
  const parsed = parseJson(bytes, limits);
  if (parsed.ok) throw new Error("was accepted");
  return parsed.detail;
}

test("what JSON.stringify wrote comes back as it was, with its text", () => {
  fc.assert(
    fc.property(jsonText, fc.constantFrom(0, 2), (made, indent) => {
      fc.pre(!made.includes("__proto__"));
      const text = JSON.stringify(JSON.parse(made), null, indent);
      expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text), text, inexact: null });
    }),
  );
});

test("strings full of brackets, colons, quotes and digits are only strings", () => {
  const tricky = fc.string({
    unit: fc.constantFrom('"', "\\", ":", "{", "[", "}", "]", ",", "9", "e", "é", "😀"),
  });
  fc.assert(
    fc.property(fc.dictionary(tricky, fc.array(tricky)), (value) => {
      const text = JSON.stringify(value);
      expect(parse(text)).toMatchObject({ ok: true, value: JSON.parse(text), inexact: null });
    }),
  );
});

test("a name that occurs twice in one object is refused, at any place and however it is spelled", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1, noNullPrototype: true }),
      fc.nat(),
      fc.jsonValue(),
      fc.boolean(),
      fc.boolean(),
      (object, pick, value, spelled, nested) => {
        const names = Object.keys(object).filter((name) => name !== "__proto__");
        fc.pre(names.length > 0 && !JSON.stringify([object, value]).includes("__proto__"));
        const name = names[pick % names.length] as string;
        const again = spelled ? escaped(name) : JSON.stringify(name);
        const twice = `${JSON.stringify(object).slice(0, -1)},${again}:${JSON.stringify(value)}}`;
        expect(refusal(bytesOf(nested ? `[{"x":${twice}}]` : twice))).toMatch(/same name occurs twice/);
      },
    ),
  );
});

test.each([
  '{"__proto__":{}}',
  '[{"a":{"__proto__":1}}]',
  `{${escaped("__proto__")}:1}`,
  '{"_\\u005fproto__":null}',
])("the member __proto__ is refused in %j", (text) => {
  expect(parse(text)).toEqual({
    ok: false,
    detail: "The body has a member named __proto__, which is not accepted.",
  });
});

test("the text __proto__ is fine where it is no name", () => {
  expect(parse('{"a":"__proto__"}')).toMatchObject({ ok: true });
});

test("depth is counted in arrays and objects and refused from one above the limit", () => {
  const nest = (depth: number) => parse(`${"[".repeat(depth)}${"]".repeat(depth)}`);
  expect(nest(64)).toMatchObject({ ok: true });
  expect(nest(65)).toEqual({ ok: false, detail: "The body nests arrays and objects deeper than 64 levels." });
  expect(nest(500_000)).toMatchObject({ ok: false });
  expect(refusal(bytesOf('{"a":['.repeat(500_000)))).toMatch(/deeper than 64/);
  expect(parse(`[${"[],".repeat(1000)}{}]`)).toMatchObject({ ok: true });
  expect(parseJson(bytesOf("1"), { maxDepth: 0 })).toMatchObject({ ok: true });
  expect(parseJson(bytesOf("[]"), { maxDepth: 0 })).toMatchObject({ ok: false });
});

test.each([
  ["an empty body", [], /^The body is empty\.$/],
  ["blanks alone", [0x20, 0x0a], /^The body is empty\.$/],
  ["a byte order mark", [0xef, 0xbb, 0xbf, 0x31], /byte order mark/],
  ["a lone continuation byte", [0x22, 0x80, 0x22], /UTF-8/],
  ["an overlong slash", [0x22, 0xc0, 0xaf, 0x22], /UTF-8/],
  ["a surrogate in UTF-8", [0x22, 0xed, 0xa0, 0x80, 0x22], /UTF-8/],
  ["a cut character", [0x22, 0xe2, 0x82], /UTF-8/],
  ["UTF-16", [0x31, 0x00], /line 1, column 2/],
])("%s is refused", (_, bytes, detail) => {
  expect(refusal(Uint8Array.from(bytes))).toMatch(detail);
});

test.each([
  ["SECRET", 1, 1],
  ['{"SECRET":SECRET}', 1, 11],
  ['{"SECRET" 1}', 1, 11],
  ['{"a":1,}', 1, 8],
  ["[1,]", 1, 4],
  ["[1 2]", 1, 4],
  ["[1]]", 1, 4],
  ["{a:1}", 1, 2],
  ["{,}", 1, 2],
  ["[,]", 1, 2],
  ["]", 1, 1],
  ["[}", 1, 2],
  ['{"a":[}', 1, 7],
  ["NaN", 1, 1],
  ["nulL", 1, 4],
  ["truE", 1, 4],
  ["-x", 1, 2],
  ["01", 1, 2],
  ["1.", 1, 2],
  ["1.e5", 1, 2],
  [".5", 1, 1],
  ["+1", 1, 1],
  ["0x10", 1, 2],
  ["'a'", 1, 1],
  ['"a\tb"', 1, 3],
  ['"\\x"', 1, 3],
  ['"\\u12G4"', 1, 6],
  ['{\n  "a": 1,\n  "b": oops\n}', 3, 8],
  ["[1] // SECRET", 1, 5],
  ["\u00a0[1]", 1, 1],
])("%j is refused with its place and without itself", (text, line, column) => {
  const detail = refusal(bytesOf(text));
  expect(detail).toBe(`The body is not valid JSON: line ${line}, column ${column}.`);
});

test.each([
  "{",
  "[",
  '{"a"',
  '{"a":',
  '{"a":1',
  '{"a":1,',
  "[1,",
  '"abc',
  '"abc\\',
  '"abc\\u12',
  "-",
  "tru",
  "n",
  "[[]",
])("the cut body %j is refused as incomplete", (text) => {
  expect(refusal(bytesOf(text))).toBe("The body ends before its JSON is complete.");
});

test("whatever breaks JSON is refused with a place at which the text before it could still have become JSON", () => {
  const edit = fc.record({
    at: fc.nat(),
    put: fc.constantFrom("", '"', ",", ":", "{", "]", "x", "1", "\\", "\n", "-"),
  });
  fc.assert(
    fc.property(jsonText, edit, (made, { at, put }) => {
      const place = at % (made.length + 1);
      const text = made.slice(0, place) + put + made.slice(place + 1);
      fc.pre(!text.includes("__proto__") && !/[\ud800-\udfff]/.test(text));
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      const parsed = parse(text);
      if (valid) {
        if (!parsed.ok) expect(parsed.detail).toMatch(/occurs twice/);
        return;
      }
      const detail = parsed.ok ? "" : parsed.detail;
      const found = /line (\d+), column (\d+)/.exec(detail);
      if (found === null) {
        expect(detail).toMatch(/before its JSON is complete|is empty/);
        return;
      }
      const [, line, column] = found;
      const before = text.split("\n").slice(0, Number(line) - 1);
      const offset = before.reduce((sum, each) => sum + each.length + 1, 0) + Number(column) - 1;
      const upTo = parse(text.slice(0, offset));
      if (!upTo.ok) expect(upTo.detail).toMatch(/before its JSON is complete|is empty|occurs twice/);
      expect(parse(text.slice(0, offset + 1))).toEqual(parsed);
    }),
    { numRuns: 500 },
  );
});

test("a hundred kilobytes of broken text names the right place", () => {
  expect(refusal(bytesOf(`["${"\\\\".repeat(50_000)}`))).toMatch(/complete/);
  expect(refusal(bytesOf(`[${"1,".repeat(50_000)}x]`))).toMatch(/column 100002/);
  expect(refusal(bytesOf(`${"[1],".repeat(50_000)}`))).toMatch(/column 4/);
});

test.each([
  ["9007199254740991", null],
  ["-9007199254740991", null],
  ["9007199254740992", null],
  ["9007199254740993", ""],
  ["-9007199254740993", ""],
  ["10000000000000000000000", null],
  ["38180192536885370", null],
  ["38180192536885371", ""],
  ["12345678901234567890", ""],
  ["1e400", ""],
  ["-1E+400", ""],
  ["1e308", null],
  ["1e5", null],
  ["1e-400", null],
  ["0.1234567890123456789", null],
  ["3.141592653589793238462643383279", null],
  ['{"a":[1,{"b/c~d":9007199254740993}]}', "/a/1/b~1c~0d"],
  ['{"x":{"y":[1,2,3]},"a":[[],[0,{"k":1},1e999]]}', "/a/1/2"],
  ['{"\\u0061":1e999,"b":1e999}', "/a"],
  ['{"s":"9007199254740993","n":9007199254740993}', "/n"],
  ['["1e999, [", {"a": "x"}, 1e999]', "/2"],
  ['{"a":{"b":1},"":1e400}', "/"],
])("the first inexact number of %s is at %j", (text, inexact) => {
  expect(parse(text)).toMatchObject({ ok: true, inexact });
});

test("integers of hundreds or thousands of digits are inexact", () => {
  for (const digits of [300, 309, 310, 100_000]) {
    expect(parse(`[${"9".repeat(digits)}]`)).toMatchObject({ ok: true, inexact: "/0" });
  }
});

test("an integer is inexact exactly when neither its value nor its digits come back", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (integer) => {
      const number = Number(integer);
      const exact = BigInt(number) === integer || String(number) === String(integer);
      expect(parse(`{"n":[${integer}]}`)).toMatchObject({ ok: true, inexact: exact ? null : "/n/0" });
    }),
  );
});
