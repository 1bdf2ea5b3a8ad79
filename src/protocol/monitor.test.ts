import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aView } from "../../test/views.ts";
import { problem } from "../core/problem.ts";
import { encodeStatus, formatInstant, statusDocument, statusTag } from "./monitor.ts";

const BASE = "https://jobs.example/api";
const FILE = { name: "a b/ü.txt", type: "text/plain", bytes: 3, sha256: "ab", blob: "secret/place" };

describe("the status document", () => {
  it("has every member of the protocol, in RFC 3339 and with absolute URLs", () => {
    const view = aView(
      { status: "processing", attempt: 1, progress: 45, message: "Transcoding video…", startedAt: 2_000 },
      { completionAt: 9_500 },
    );
    expect(statusDocument(view, BASE)).toEqual({
      id: view.job.id,
      operation: "transcode",
      status: "processing",
      progress: 45,
      message: "Transcoding video…",
      position: null,
      attempt: 1,
      maxAttempts: 3,
      createdAt: "1970-01-01T00:00:01.000Z",
      dueAt: "1970-01-01T00:00:01.000Z",
      startedAt: "1970-01-01T00:00:02.000Z",
      updatedAt: "1970-01-01T00:00:01.000Z",
      finishedAt: null,
      expiresAt: null,
      cancelRequestedAt: null,
      estimatedCompletion: "1970-01-01T00:00:09.500Z",
      waitingFor: null,
      statusUrl: `${BASE}/jobs/${view.job.id}`,
      resultUrl: `${BASE}/jobs/${view.job.id}/result`,
      files: [],
      error: null,
    });
  });

  it("lists the files of a completed job with their URLs, and never where they are kept", () => {
    const view = aView({ status: "completed", files: [FILE], result: { file: FILE.name }, finishedAt: 5 });
    const { files } = statusDocument(view, BASE);
    expect(files).toEqual([
      {
        name: FILE.name,
        type: FILE.type,
        bytes: 3,
        sha256: "ab",
        url: `${BASE}/jobs/${view.job.id}/result/a%20b%2F%C3%BC.txt`,
      },
    ]);
    expect(encodeStatus(view, BASE)).not.toContain("secret");
  });

  it.each([
    ["failed", true],
    ["queued", true],
    ["processing", false],
    ["completed", false],
    ["canceled", false],
  ] as const)("of a %s job whose last attempt failed shows the error: %s", (status, shown) => {
    const view = aView({ status, problem: problem("timed-out") });
    const { error } = statusDocument(view, BASE);
    if (shown) expect(error).toMatchObject({ type: `${BASE}/problems/timed-out`, status: 504 });
    else expect(error).toBeNull();
  });

  it("is encoded as JSON.stringify would, whatever is in it", () => {
    const instant = fc.integer({ min: 0, max: 4_000_000_000_000 });
    const job = fc.record({
      id: fc.string(),
      operation: fc.string(),
      status: fc.constantFrom("queued", "processing", "completed", "failed", "canceled"),
      progress: fc.option(fc.integer({ min: 0, max: 100 })),
      message: fc.option(fc.string({ unit: "binary" })),
      attempt: fc.nat(),
      createdAt: instant,
      dueAt: instant,
      startedAt: fc.option(instant),
      updatedAt: instant,
      finishedAt: fc.option(instant),
      expiresAt: fc.option(instant),
      cancelRequestedAt: fc.option(instant),
      files: fc.array(fc.record({ ...all(FILE), name: fc.string({ unit: "binary" }) }), { maxLength: 2 }),
      problem: fc.option(fc.constant(problem("worker-lost", 'said "no"', { deep: [1, null] }))),
    });
    const seen = fc.record({
      position: fc.option(fc.nat()),
      waitingFor: fc.constantFrom("turn", "no-worker", null),
      completionAt: fc.option(instant),
    });
    fc.assert(
      fc.property(job, seen, fc.string(), (fields, more, base) => {
        const view = aView(fields as object, more as object);
        expect(encodeStatus(view, base)).toBe(JSON.stringify(statusDocument(view, base)));
      }),
      { numRuns: 300 },
    );
  });
});

describe("the entity tag", () => {
  it("of a settled job is its revision, strong, and the same whatever else is said of it", () => {
    const job = { status: "completed", revision: 7, finishedAt: 5 } as const;
    expect(statusTag(aView(job))).toBe('"7"');
    expect(statusTag(aView(job, { completionAt: 1, retryAfterSeconds: 2 }))).toBe('"7"');
  });

  it("of a waiting job changes with its place in the line and with the reason of its wait", () => {
    const tags = [
      aView({}, { position: 5, waitingFor: "turn" }),
      aView({}, { position: 4, waitingFor: "turn" }),
      aView({}, { position: 4, waitingFor: "no-worker" }),
      aView({ revision: 2 }, { position: 4, waitingFor: "turn" }),
      aView({ status: "processing", revision: 2 }),
    ].map(statusTag);
    expect(new Set(tags).size).toBe(tags.length);
    expect(tags.every((tag) => /^W\/"[!#-~]+"$/.test(tag))).toBe(true);
  });
});

it("an instant is written as Date writes it", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1_000_000_000_000, max: 253_402_300_799_999 }), (ms) => {
      expect(formatInstant(ms)).toBe(new Date(ms).toISOString());
    }),
  );
  // The same slot of the memory, in turns.
  for (const ms of [0, 64_000, 999, 64_001]) expect(formatInstant(ms)).toBe(new Date(ms).toISOString());
});

function all(value: object): Record<string, fc.Arbitrary<unknown>> {
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, fc.constant(inner)]));
}
