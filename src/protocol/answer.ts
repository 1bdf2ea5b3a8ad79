// The table: a job and what was asked about it in, status, headers and kind of body out. Every answer about a job is from here.
//
//              status                      result                       cancel   submit
//   queued     200, Retry-After            404 result-not-ready         200*     202
//   processing 200, Retry-After            404 result-not-ready         202      202
//   completed  303 (200, redirect=false)   200, the result              409      202, or the result if waited for
//   failed     200                         the problem's own status     409      202, or the problem if waited for
//   canceled   200                         409 job-canceled             200      202, or 409 if waited for
//   gone       410                         410                          410      202 without a document
//   unknown    404                         404                          404      –
//                                                    * a queued job is canceled by then

import type { StoredFile } from "../core/handler.ts";
import { isSettled } from "../core/job.ts";
import type { RateState, View } from "../core/jobs.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import { formatAttachment } from "./disposition.ts";
import { choosePortion, matchesTag } from "./download.ts";
import { monitorUrl, resultUrl, statusTag } from "./monitor.ts";
import { preferenceApplied } from "./prefer.ts";
import { rateLimit, rateLimitPolicy } from "./rate-limit.ts";
import { formatRetryAfter } from "./retry-after.ts";

/** Header fields by lower-case name. */
export type Fields = Record<string, string>;

/** What goes out as the body. */
export type Content =
  | { readonly kind: "nothing" }
  /** The status document of the job. */
  | { readonly kind: "status" }
  | { readonly kind: "json"; readonly json: string }
  /** Bytes `from` to `to` (inclusive) of a file; `to` is below `from` where it is empty. */
  | { readonly kind: "file"; readonly file: StoredFile; readonly from: number; readonly to: number }
  | { readonly kind: "problem"; readonly problem: ProblemDocument }
  /** The problem, with the status document as its member `job`. */
  | { readonly kind: "problem-with-status"; readonly problem: ProblemDocument };

export interface Answer {
  readonly status: number;
  readonly fields: Fields;
  readonly content: Content;
}

export interface StatusQuestion {
  /** Whether a completed job is answered with the way to its result. */
  readonly redirect: boolean;
  readonly ifNoneMatch: string | undefined;
  /** Preferences that were honoured. */
  readonly applied: readonly string[];
}

export interface ResultQuestion {
  /** One of the job's files, by name; null for the result itself. */
  readonly file: string | null;
  readonly ifNoneMatch: string | undefined;
  /** Only of a GET (RFC 9110 §14.2). */
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

export interface CancelQuestion {
  /** `Prefer: return=minimal`. */
  readonly minimal: boolean;
  readonly applied: readonly string[];
}

export interface SubmitQuestion {
  readonly replayed: boolean;
  readonly rate: RateState | null;
  /** The caller waited for the outcome, so that a settled job is answered with it. */
  readonly waited: boolean;
  /** `Prefer: return=minimal`. */
  readonly minimal: boolean;
  readonly applied: readonly string[];
}

/** Nothing about jobs is cached: a cached early 404 would poison every poll after it. */
export const PRIVATE = "private, no-store";
export const JSON_TYPE = "application/json";
export const PROBLEM_TYPE = "application/problem+json";

const NOTHING: Content = { kind: "nothing" };
const STATUS: Content = { kind: "status" };

/** The monitor: GET /jobs/{id}. */
export function answerStatus(asked: StatusQuestion, view: View | null, base: string): Answer {
  if (view === null) return NOT_FOUND();
  const { job } = view;
  if (job.goneAt !== null) return GONE();
  const fields: Fields = { "cache-control": PRIVATE, vary: "Prefer" };
  applyPreferences(fields, asked.applied);
  if (job.status === "completed" && asked.redirect) {
    // Never Retry-After on it: clients would delay the redirect. No ETag either, as it is no answer to a condition.
    fields["content-type"] = JSON_TYPE;
    fields.location = resultUrl(base, job.id);
    return { status: 303, fields, content: STATUS };
  }
  const tag = statusTag(view);
  fields.etag = tag;
  if (!isSettled(job.status)) fields["retry-after"] = formatRetryAfter(view.retryAfterSeconds ?? 1);
  if (matchesTag(asked.ifNoneMatch, tag)) return { status: 304, fields, content: NOTHING };
  fields["content-type"] = JSON_TYPE;
  return { status: 200, fields, content: STATUS };
}

/** The result: GET /jobs/{id}/result and the files below it. */
export function answerResult(asked: ResultQuestion, view: View | null, base: string): Answer {
  if (view === null) return NOT_FOUND();
  const { job } = view;
  if (job.goneAt !== null) return GONE();
  const fields: Fields = { "cache-control": PRIVATE };
  switch (job.status) {
    case "completed":
      return answerCompleted(asked, view, fields);
    case "failed":
      return refusal(outcomeProblem(job.problem), fields);
    case "canceled":
      return refusal(problem("job-canceled"), fields);
    default:
      fields["retry-after"] = formatRetryAfter(view.retryAfterSeconds ?? 1);
      fields.link = `<${monitorUrl(base, job.id)}>; rel="monitor"`;
      return refusal(problem("result-not-ready"), fields);
  }
}

/** After a cancel: DELETE /jobs/{id}. `refused` is set where the job had ended otherwise. */
export function answerCancel(
  asked: CancelQuestion,
  view: View | null,
  refused: ProblemDocument | null,
  base: string,
): Answer {
  if (view === null) return NOT_FOUND();
  const { job } = view;
  if (job.goneAt !== null) return GONE();
  const fields: Fields = { "cache-control": PRIVATE, vary: "Prefer" };
  if (refused !== null) {
    fields["content-type"] = PROBLEM_TYPE;
    return { status: refused.status, fields, content: { kind: "problem-with-status", problem: refused } };
  }
  applyPreferences(fields, asked.applied);
  fields.etag = statusTag(view);
  fields["content-location"] = monitorUrl(base, job.id);
  const settled = isSettled(job.status);
  if (!settled) fields["retry-after"] = formatRetryAfter(view.retryAfterSeconds ?? 1);
  if (asked.minimal) {
    delete fields["content-location"];
    return { status: settled ? 204 : 202, fields, content: NOTHING };
  }
  fields["content-type"] = JSON_TYPE;
  return { status: settled ? 200 : 202, fields, content: STATUS };
}

/** After an accepted submit, new or replayed. */
export function answerSubmit(asked: SubmitQuestion, view: View, base: string): Answer {
  const { job } = view;
  if (asked.waited && isSettled(job.status) && job.goneAt === null) return answerWaited(asked, view, base);
  const url = monitorUrl(base, job.id);
  const fields: Fields = {
    "cache-control": "no-store",
    vary: "Prefer",
    location: url,
    "retry-after": formatRetryAfter(view.retryAfterSeconds ?? 1),
    link: jobLinks(base, url),
  };
  if (asked.applied.length > 0) applyPreferences(fields, asked.applied);
  if (asked.replayed) fields["idempotency-replayed"] = "true";
  if (asked.rate !== null) tellRate(fields, asked.rate);
  // Content-Location says that the body is what GET on the monitor answers: for these two it is not.
  if (asked.minimal || job.goneAt !== null) return { status: 202, fields, content: NOTHING };
  fields["content-location"] = url;
  fields["content-type"] = JSON_TYPE;
  return { status: 202, fields, content: STATUS };
}

/** Something that is no answer about a job: a refusal, as it is said everywhere. */
export function refusal(document: ProblemDocument, fields: Fields = { "cache-control": PRIVATE }): Answer {
  fields["content-type"] = PROBLEM_TYPE;
  return { status: document.status, fields, content: { kind: "problem", problem: document } };
}

/** Adds the RateLimit fields. */
export function tellRate(fields: Fields, rate: RateState): void {
  fields["ratelimit-policy"] = rateLimitPolicy([rate]);
  fields.ratelimit = rateLimit([rate]);
}

/** The Link field of a 202: where to follow the job, where its result will be, and what to DELETE to cancel it. */
export function jobLinks(base: string, monitor: string): string {
  return `<${monitor}>; rel="monitor", <${monitor}/result>; rel="${base}/rels/result", <${monitor}>; rel="${base}/rels/cancel"`;
}

// The same to the byte for a job that never was and for another owner's.
const NOT_FOUND = () => refusal(problem("not-found"));
const GONE = () => refusal(problem("gone"));

function applyPreferences(fields: Fields, applied: readonly string[]): void {
  if (applied.length > 0) fields["preference-applied"] = preferenceApplied(applied);
}

/** The outcome itself as the answer to a submit: as the result URL would give it, and how to find the job again. */
function answerWaited(asked: SubmitQuestion, view: View, base: string): Answer {
  const answer = answerResult(WHOLE_RESULT, view, base);
  const { fields } = answer;
  const { id } = view.job;
  fields.vary = "Prefer";
  fields.link = jobLinks(base, monitorUrl(base, id));
  if (answer.status === 200) fields["content-location"] = resultUrl(base, id);
  applyPreferences(fields, asked.applied);
  if (asked.replayed) fields["idempotency-replayed"] = "true";
  if (asked.rate !== null) tellRate(fields, asked.rate);
  return answer;
}

const WHOLE_RESULT: ResultQuestion = {
  file: null,
  ifNoneMatch: undefined,
  range: undefined,
  ifRange: undefined,
};

function answerCompleted(asked: ResultQuestion, { job }: View, fields: Fields): Answer {
  const { result } = job;
  // What a handler made is shown by no browser on our origin, whatever type it claims to be.
  fields["x-content-type-options"] = "nosniff";
  fields["content-security-policy"] = "sandbox; default-src 'none'";
  if (asked.file === null && result !== null && "json" in result) {
    const tag = `"${job.revision}-${(job.finishedAt ?? 0).toString(36)}"`;
    fields.etag = tag;
    if (matchesTag(asked.ifNoneMatch, tag)) return { status: 304, fields, content: NOTHING };
    fields["content-type"] = JSON_TYPE;
    return { status: 200, fields, content: { kind: "json", json: result.json } };
  }
  const name = asked.file ?? (result !== null && "file" in result ? result.file : null);
  const file = job.files.find((candidate) => candidate.name === name);
  return file === undefined ? NOT_FOUND() : answerFile(asked, file, fields);
}

function answerFile(asked: ResultQuestion, file: StoredFile, fields: Fields): Answer {
  const tag = `"${file.sha256}"`;
  const portion = choosePortion(asked, file.bytes, tag);
  fields.etag = tag;
  fields["accept-ranges"] = "bytes";
  switch (portion.kind) {
    case "not-modified":
      return { status: 304, fields, content: NOTHING };
    case "unsatisfiable":
      fields["content-range"] = `bytes */${file.bytes}`;
      return refusal(problem("range-not-satisfiable"), fields);
    case "part":
      fields["content-range"] = `bytes ${portion.from}-${portion.to}/${file.bytes}`;
  }
  const { from, to } = portion.kind === "part" ? portion : { from: 0, to: file.bytes - 1 };
  fields["content-type"] = MEDIA_TYPE.test(file.type) ? file.type : "application/octet-stream";
  fields["content-disposition"] = formatAttachment(file.name);
  fields["content-length"] = String(to - from + 1);
  return { status: portion.kind === "part" ? 206 : 200, fields, content: { kind: "file", file, from, to } };
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const MEDIA_TYPE = new RegExp(`^${TOKEN}/${TOKEN}(?:\\s*;\\s*${TOKEN}=(?:${TOKEN}|"[ !#-\\[\\]-~]*"))*$`);

/** Why a job failed, with a status that can stand in an error response. */
function outcomeProblem(document: ProblemDocument | null): ProblemDocument {
  const known = document ?? problem("attempt-failed");
  const sound = Number.isInteger(known.status) && known.status >= 400 && known.status <= 599;
  return sound ? known : { ...known, status: 500 };
}
