import fc from "fast-check";
import { expect, test } from "vitest";
import { formatLinks } from "./link.ts";

test("links are listed with their relations and attributes", () => {
  expect(
    formatLinks([
      { target: "https://api.example/jobs/1", rel: "monitor" },
      { target: "/jobs?cursor=a%20b&limit=2", rel: "next", title: 'the "next" page', type: undefined },
    ]),
  ).toBe(
    '<https://api.example/jobs/1>; rel="monitor", </jobs?cursor=a%20b&limit=2>; rel="next"; title="the \\"next\\" page"',
  );
  expect(formatLinks([])).toBe("");
});

test.each(["", "/a\r\nX: y", "/a\nb", "/a>; rel=x", "<a", "/a b", '/a"b', "/ä", "/a\u0000"])(
  "the target %j is refused",
  (target) => {
    expect(() => formatLinks([{ target, rel: "monitor" }])).toThrow(RangeError);
  },
);

test("attributes that could break out of the header are refused", () => {
  expect(() => formatLinks([{ target: "/a", rel: "x\r\ny" }])).toThrow(RangeError);
  expect(() => formatLinks([{ target: "/a", rel: "x", title: "ü" }])).toThrow(RangeError);
  expect(() => formatLinks([{ target: "/a", rel: "x", 'a"b': "c" }])).toThrow(RangeError);
});

test("any text becomes a safe header or is refused", () => {
  const character = fc.constantFrom(
    "a",
    "/",
    "<",
    ">",
    '"',
    "\\",
    ";",
    ",",
    "=",
    " ",
    "\r",
    "\n",
    "\u0000",
    "ü",
  );
  const mostlySafe = fc.oneof(fc.string(), fc.string({ unit: character }));
  fc.assert(
    fc.property(mostlySafe, mostlySafe, (target, title) => {
      let header: string;
      try {
        header = formatLinks([{ target, rel: "related", title }]);
      } catch (refused) {
        expect(refused).toBeInstanceOf(RangeError);
        return;
      }
      expect(header).toMatch(/^<[^<>"\s]+>; rel="related"; title="(?:[^"\\]|\\["\\])*"$/);
      expect(header).toMatch(/^[ -~]*$/);
    }),
  );
});
