import type { IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { readTerms, type Terms } from "./terms.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
const BOUNDS = { now: () => NOW, limits: { delayMs: 30 * 86_400_000 } };
const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

function read(headers: readonly (readonly [string, string])[], url = "/operations/echo") {
  return readTerms({ rawHeaders: headers.flat(), url } as unknown as IncomingMessage, BOUNDS);
}

function taken(...arguments_: Parameters<typeof read>): Terms {
  const terms = read(...arguments_);
  if ("refused" in terms) throw new Error(terms.refused.detail);
  return terms;
}

function refusedAs(...arguments_: Parameters<typeof read>): string {
  const terms = read(...arguments_);
  return "refused" in terms ? terms.refused.type : "taken";
}

it("a plain submit has no terms", () => {
  expect(taken([["Host", "x"]])).toEqual({
    prefer: { respondAsync: false, waitSeconds: null, handling: null, return: null, unknownAt: 0 },
    key: null,
    delayMs: 0,
    startWithinMs: null,
    priority: 0,
    trace: null,
    dryRun: false,
    parameters: null,
  });
});

it("field names are read in any case, and several Prefer fields as one", () => {
  const terms = taken([
    ["PREFER", "respond-async"],
    ["prefer", "wait=5, return=minimal"],
    ["idempotency-KEY", '"k1"'],
    ["Coatcheck-Priority", "-5"],
  ]);
  expect(terms.prefer).toEqual({
    respondAsync: true,
    waitSeconds: 5,
    handling: null,
    return: "minimal",
    unknownAt: 0,
  });
  expect(terms).toMatchObject({ key: "k1", priority: -5 });
});

describe("a time", () => {
  it.each([
    ["90", 90_000],
    ["0", 0],
    ["90s", 90_000],
    ["1h30m", 5_400_000],
    ["2026-11-23T12:00:30Z", 30_000],
    ["2026-11-23t13:00:30.5+01:00", 30_500],
    ["2020-01-01T00:00:00Z", 0],
    ["2024-02-29T00:00:00Z", 0],
  ])("written %s lies %i ms ahead", (value, ms) => {
    expect(taken([["Coatcheck-Delay", value]]).delayMs).toBe(ms);
    expect(taken([["Coatcheck-Deadline", value]]).startWithinMs).toBe(ms);
  });

  it.each([
    "",
    "soon",
    "-5",
    "1.5",
    "5x",
    "2026-11-23",
    "Mon, 23 Nov 2026 12:00:00 GMT",
    "2026-13-01T00:00:00Z",
    "2026-02-31T00:00:00Z",
    "2027-02-29T00:00:00Z",
    "2026-12-01T24:00:00Z",
    "2026-12-01T00:00:00+24:00",
  ])("written %j is refused", (value) => {
    expect(refusedAs([["Coatcheck-Delay", value]])).toBe("invalid-request");
    expect(refusedAs([["Coatcheck-Deadline", value]])).toBe("invalid-request");
  });

  it("sent twice is refused", () => {
    const twice = [
      ["Coatcheck-Delay", "5"],
      ["Coatcheck-Delay", "6"],
    ] as const;
    expect(refusedAs(twice)).toBe("invalid-request");
  });

  it("is no delay where it lies further ahead than a month", () => {
    expect(refusedAs([["Coatcheck-Delay", "31d"]])).toBe("invalid-request");
    expect(taken([["Coatcheck-Deadline", "31d"]]).startWithinMs).toBe(31 * 86_400_000);
  });
});

it.each(["1", "-101", "1e1", "high", ""])(
  "the priority %j is refused: callers may only ask for less",
  (value) => {
    expect(refusedAs([["Coatcheck-Priority", value]])).toBe("invalid-request");
  },
);

it("a webhook is refused rather than taken in silence", () => {
  expect(refusedAs([["Coatcheck-Webhook", "https://example.com/hook"]])).toBe("invalid-request");
});

describe("a trace", () => {
  it.each([
    [[["traceparent", PARENT]], PARENT],
    [
      [
        ["traceparent", PARENT],
        ["tracestate", "a=1"],
        ["tracestate", "b=2"],
      ],
      `${PARENT} a=1,b=2`,
    ],
    [[["traceparent", PARENT.replace("00-", "cc-").concat("-more")]], `cc${PARENT.slice(2)}-more`],
    [[["tracestate", "a=1"]], null],
    [[["traceparent", PARENT.toUpperCase()]], null],
    [[["traceparent", `${PARENT}-more`]], null],
    [[["traceparent", PARENT.replace("00-", "ff-")]], null],
    [[["traceparent", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`]], null],
    [[["traceparent", `00-4bf92f3577b34da6a3ce929d0e0e4736-${"0".repeat(16)}-01`]], null],
    [
      [
        ["traceparent", PARENT],
        ["traceparent", PARENT],
      ],
      null,
    ],
  ] as [[string, string][], string | null][])("of %j is kept as %j", (headers, trace) => {
    expect(taken(headers).trace).toBe(trace);
  });
});

describe("the query", () => {
  it("says whether it is a dry run, and what else it holds is left for a file's input", () => {
    const terms = taken([], "/operations/echo?dry-run=true&width=5&width=6");
    expect(terms.dryRun).toBe(true);
    expect(terms.parameters?.toString()).toBe("width=5&width=6");
    expect(taken([], "/operations/echo?dry-run=false")).toMatchObject({ dryRun: false, parameters: null });
  });

  it.each(["dry-run=yes", "dry-run", "dry-run=", "dry-run=true&dry-run=true"])(
    "%s is refused: in doubt nothing is queued",
    (query) => {
      expect(refusedAs([], `/operations/echo?${query}`)).toBe("invalid-query");
    },
  );
});

it("handling=strict refuses a Coatcheck field that nobody knows", () => {
  const unknown = ["Coatcheck-Colour", "red"] as const;
  expect(refusedAs([unknown])).toBe("taken");
  expect(refusedAs([unknown, ["Prefer", "handling=strict"]])).toBe("invalid-request");
});

it("handling=strict refuses a preference that nobody knows, in whichever of several fields it is asked for", () => {
  const unknown = ["Prefer", "depth-noroot"] as const;
  expect(refusedAs([unknown])).toBe("taken");
  expect(refusedAs([unknown, ["Prefer", "handling=strict"]])).toBe("invalid-request");
  const known = "handling=strict, respond-async, wait=5, return=representation";
  expect(refusedAs([["Prefer", known]])).toBe("taken");
});

it("a key that is sent twice is refused, though a comma may stand in one", () => {
  const key = (value: string) => ["Idempotency-Key", value] as const;
  expect(taken([key("a, b")]).key).toBe("a, b");
  expect(refusedAs([key("a"), key("b")])).toBe("invalid-idempotency-key");
});
