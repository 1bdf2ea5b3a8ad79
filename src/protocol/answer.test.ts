import { describe, expect, it } from "vitest";
import { aView } from "../../test/views.ts";
import type { Status } from "../core/job.ts";
import type { View } from "../core/jobs.ts";
import { problem } from "../core/problem.ts";
import {
  type Answer,
  answerCancel,
  answerResult,
  answerStatus,
  answerSubmit,
  jobLinks,
  type SubmitQuestion,
} from "./answer.ts";
import { formatLinks } from "./link.ts";
import { statusTag } from "./monitor.ts";

const BASE = "https://jobs.example";
const FILE = { name: "film.mp4", type: "video/mp4", bytes: 10, sha256: "ff00", blob: "b" };
const POSTS = { waitingFor: "turn", position: 3, completionAt: 9_000, retryAfterSeconds: 7 } as const;

const jobs: Readonly<Record<Status | "gone", View>> = {
  queued: aView({}, POSTS),
  processing: aView({ status: "processing", attempt: 1 }, { retryAfterSeconds: 4 }),
  completed: aView({ status: "completed", finishedAt: 5_000, result: { json: '{"pages":12}' }, revision: 3 }),
  failed: aView({
    status: "failed",
    finishedAt: 5_000,
    problem: problem("timed-out", "Too slow."),
    revision: 3,
  }),
  canceled: aView({ status: "canceled", finishedAt: 5_000, revision: 2 }),
  gone: aView({ status: "completed", finishedAt: 5_000, goneAt: 9_000, revision: 4 }),
};
const filed = aView({ status: "completed", finishedAt: 5_000, result: { file: FILE.name }, files: [FILE] });

const STATUS = { redirect: true, ifNoneMatch: undefined, applied: [] };
const RESULT = { file: null, ifNoneMatch: undefined, range: undefined, ifRange: undefined };
const CANCEL = { minimal: false, applied: [] };
const SUBMIT: SubmitQuestion = { replayed: false, rate: null, waited: false, minimal: false, applied: [] };

/** Status, kind of body, and the problem's name where it is one. */
function gist({ status, content }: Answer): string {
  const name = content.kind.startsWith("problem") && "problem" in content ? ` ${content.problem.type}` : "";
  return `${status} ${content.kind}${name}`;
}

describe("the monitor answers", () => {
  it.each([
    ["queued", "200 status"],
    ["processing", "200 status"],
    ["completed", "303 status"],
    ["failed", "200 status"],
    ["canceled", "200 status"],
    ["gone", "410 problem gone"],
  ] as const)("a %s job with %s", (which, expected) => {
    const answer = answerStatus(STATUS, jobs[which], BASE);
    expect(gist(answer)).toBe(expected);
    expect(answer.fields["cache-control"]).toBe("private, no-store");
    const isLive = which === "queued" || which === "processing";
    expect(answer.fields["retry-after"]).toBe(isLive ? String(jobs[which].retryAfterSeconds) : undefined);
  });

  it("a completed job with the way to its result and nothing that would delay it", () => {
    const { fields } = answerStatus(STATUS, jobs.completed, BASE);
    expect(fields).toEqual({
      "cache-control": "private, no-store",
      "content-type": "application/json",
      location: `${BASE}/jobs/${jobs.completed.job.id}/result`,
      vary: "Prefer",
    });
  });

  it("a completed job with 200 and its tag where no redirect is wanted", () => {
    const answer = answerStatus({ ...STATUS, redirect: false }, jobs.completed, BASE);
    expect(gist(answer)).toBe("200 status");
    expect(answer.fields.etag).toBe('"3"');
    expect(answer.fields.location).toBeUndefined();
  });

  it("nothing but 304 where the caller has this reading already, and 303 all the same", () => {
    for (const which of ["queued", "processing", "failed", "canceled"] as const) {
      const asked = { ...STATUS, ifNoneMatch: statusTag(jobs[which]) };
      const answer = answerStatus(asked, jobs[which], BASE);
      expect(gist(answer)).toBe("304 nothing");
      expect(answer.fields["content-type"]).toBeUndefined();
    }
    expect(answerStatus({ ...STATUS, ifNoneMatch: '"3"' }, jobs.completed, BASE).status).toBe(303);
    const moved = { ...jobs.queued, position: 2 };
    expect(answerStatus({ ...STATUS, ifNoneMatch: statusTag(jobs.queued) }, moved, BASE).status).toBe(200);
  });

  it("which preferences were honoured", () => {
    const asked = { ...STATUS, applied: ["wait", "handling=strict"] };
    expect(answerStatus(asked, jobs.queued, BASE).fields["preference-applied"]).toBe("wait, handling=strict");
  });
});

describe("the result answers", () => {
  it.each([
    ["queued", "404 problem result-not-ready"],
    ["processing", "404 problem result-not-ready"],
    ["completed", "200 json"],
    ["failed", "504 problem timed-out"],
    ["canceled", "409 problem job-canceled"],
    ["gone", "410 problem gone"],
  ] as const)("a %s job with %s", (which, expected) => {
    const answer = answerResult(RESULT, jobs[which], BASE);
    expect(gist(answer)).toBe(expected);
    expect(answer.fields["cache-control"]).toBe("private, no-store");
  });

  it("what is not ready with where and when to look again", () => {
    expect(answerResult(RESULT, jobs.queued, BASE).fields).toMatchObject({
      "retry-after": "7",
      link: `<${BASE}/jobs/${jobs.queued.job.id}>; rel="monitor"`,
    });
  });

  it("JSON with a tag of its own, and 304 to it", () => {
    const { fields } = answerResult(RESULT, jobs.completed, BASE);
    expect(fields).toMatchObject({ "content-type": "application/json", "x-content-type-options": "nosniff" });
    expect(gist(answerResult({ ...RESULT, ifNoneMatch: fields.etag }, jobs.completed, BASE))).toBe(
      "304 nothing",
    );
  });

  it("a file as an attachment that no browser runs", () => {
    const answer = answerResult(RESULT, filed, BASE);
    expect(answer.content).toEqual({ kind: "file", file: FILE, from: 0, to: 9 });
    expect(answer.fields).toEqual({
      "accept-ranges": "bytes",
      "cache-control": "private, no-store",
      "content-disposition": 'attachment; filename="film.mp4"',
      "content-length": "10",
      "content-security-policy": "sandbox; default-src 'none'",
      "content-type": "video/mp4",
      etag: '"ff00"',
      "x-content-type-options": "nosniff",
    });
    expect(answerResult({ ...RESULT, file: FILE.name }, filed, BASE)).toEqual(answer);
  });

  it("a range with the bytes it names, or with 416 and the length", () => {
    const part = answerResult({ ...RESULT, range: "bytes=2-4" }, filed, BASE);
    expect(part).toMatchObject({
      status: 206,
      fields: { "content-range": "bytes 2-4/10", "content-length": "3" },
      content: { from: 2, to: 4 },
    });
    const none = answerResult({ ...RESULT, range: "bytes=10-" }, filed, BASE);
    expect(gist(none)).toBe("416 problem range-not-satisfiable");
    expect(none.fields["content-range"]).toBe("bytes */10");
  });

  it("a file that the job does not have exactly like a job that never was", () => {
    expect(answerResult({ ...RESULT, file: "other" }, filed, BASE)).toEqual(answerResult(RESULT, null, BASE));
  });

  it("a type that can't stand in a header as bytes of no type", () => {
    const odd = aView({
      status: "completed",
      finishedAt: 1,
      result: { file: "x" },
      files: [{ ...FILE, name: "x", type: "text/html\r\nX: y" }],
    });
    expect(answerResult(RESULT, odd, BASE).fields["content-type"]).toBe("application/octet-stream");
  });

  it.each([
    [422, 422],
    [200, 500],
    [99, 500],
    [600, 500],
  ])("a failure that claims status %i with %i", (claimed, status) => {
    const view = aView({
      status: "failed",
      finishedAt: 1,
      problem: { type: "own", title: "Own", status: claimed },
    });
    const answer = answerResult(RESULT, view, BASE);
    expect(answer.status).toBe(status);
    expect(answer.content).toMatchObject({ problem: { status } });
  });
});

describe("a cancel answers", () => {
  it.each([
    ["canceled", "200 status"],
    ["processing", "202 status"],
    ["gone", "410 problem gone"],
  ] as const)("a job that is %s by then with %s", (which, expected) => {
    expect(gist(answerCancel(CANCEL, jobs[which], null, BASE))).toBe(expected);
  });

  it("a job that had ended with 409 and its status document", () => {
    const answer = answerCancel(CANCEL, jobs.completed, problem("already-settled"), BASE);
    expect(gist(answer)).toBe("409 problem-with-status already-settled");
  });

  it("without a body where a minimal answer is preferred", () => {
    const asked = { minimal: true, applied: ["return=minimal"] };
    expect(gist(answerCancel(asked, jobs.canceled, null, BASE))).toBe("204 nothing");
    const later = answerCancel(asked, jobs.processing, null, BASE);
    expect(gist(later)).toBe("202 nothing");
    expect(later.fields["retry-after"]).toBe("4");
    expect(later.fields["content-type"]).toBeUndefined();
  });
});

describe("a submit answers", () => {
  it("an accepted job with 202 and every field of the protocol", () => {
    const url = `${BASE}/jobs/${jobs.queued.job.id}`;
    const answer = answerSubmit({ ...SUBMIT, applied: ["respond-async"] }, jobs.queued, BASE);
    expect(gist(answer)).toBe("202 status");
    expect(answer.fields).toEqual({
      "cache-control": "no-store",
      "content-location": url,
      "content-type": "application/json",
      link: formatLinks([
        { target: url, rel: "monitor" },
        { target: `${url}/result`, rel: `${BASE}/rels/result` },
        { target: url, rel: `${BASE}/rels/cancel` },
      ]),
      location: url,
      "preference-applied": "respond-async",
      "retry-after": "7",
      vary: "Prefer",
    });
    expect(answer.fields.link).toBe(jobLinks(BASE, url));
  });

  it.each(Object.keys(jobs) as (keyof typeof jobs)[])("a replay of a %s job with the same 202", (which) => {
    const answer = answerSubmit({ ...SUBMIT, replayed: true }, jobs[which], BASE);
    expect(answer.status).toBe(202);
    expect(answer.fields.location).toBe(`${BASE}/jobs/${jobs[which].job.id}`);
    expect(answer.fields["idempotency-replayed"]).toBe("true");
    expect(answer.fields["retry-after"]).toMatch(/^[1-9]\d*$/);
    // What Content-Location promises, GET on the monitor of a job that is gone would not keep.
    expect(answer.fields["content-location"] !== undefined).toBe(which !== "gone");
  });

  it.each([
    ["queued", "202 status"],
    ["completed", "200 json"],
    ["failed", "504 problem timed-out"],
    ["canceled", "409 problem job-canceled"],
    ["gone", "202 nothing"],
  ] as const)("one who waited for a %s job with %s", (which, expected) => {
    const answer = answerSubmit({ ...SUBMIT, waited: true, applied: ["wait"] }, jobs[which], BASE);
    expect(gist(answer)).toBe(expected);
    expect(answer.fields.link).toContain('rel="monitor"');
    expect(answer.fields["preference-applied"]).toBe("wait");
  });

  it("with what is left of the rate", () => {
    const rate = { name: "burst", quota: 100, windowSeconds: 60, remaining: 50, resetSeconds: 30 };
    for (const waited of [false, true]) {
      const { fields } = answerSubmit({ ...SUBMIT, rate, waited }, jobs.completed, BASE);
      expect(fields["ratelimit-policy"]).toBe('"burst";q=100;w=60');
      expect(fields.ratelimit).toBe('"burst";r=50;t=30');
    }
  });

  it("without a document where a minimal answer is preferred", () => {
    const answer = answerSubmit({ ...SUBMIT, minimal: true }, jobs.queued, BASE);
    expect(gist(answer)).toBe("202 nothing");
    expect(answer.fields["content-location"]).toBeUndefined();
    expect(answer.fields.location).toBeDefined();
  });
});

it("D1: an unknown job is answered the same by every question, without a word about it", () => {
  const answers = [
    answerStatus(STATUS, null, BASE),
    answerResult(RESULT, null, BASE),
    answerResult({ ...RESULT, file: "x" }, null, BASE),
    answerCancel(CANCEL, null, null, BASE),
  ];
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  expect(answers[0]).toEqual({
    status: 404,
    fields: { "cache-control": "private, no-store", "content-type": "application/problem+json" },
    content: { kind: "problem", problem: problem("not-found") },
  });
});
