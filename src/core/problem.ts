// The catalogue of everything that can be refused or go wrong, as RFC 9457 problem documents.

/** A problem document (RFC 9457 §3.1). `type` is a name of the catalogue, or a URL or short name of the handler's own. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly [extension: string]: unknown;
}

interface Entry {
  readonly status: number;
  readonly title: string;
  /** What it means and what the reader can do; this is the page at the problem's URL. */
  readonly help: string;
}

/** Every problem, by the name that ends its `type`. `docs/reference/problems.md` is held equal to it by a test. */
export const PROBLEMS = {
  "invalid-request": {
    status: 400,
    title: "The request is malformed",
    help: "The request can't be read as HTTP, or a header has no valid value, or with `handling=strict` one that is not understood. The detail tells which.",
  },
  "invalid-json": {
    status: 400,
    title: "The body is not valid JSON",
    help: "Send one JSON value in UTF-8: no duplicate or `__proto__` members, nested 64 deep at most.",
  },
  "invalid-query": {
    status: 400,
    title: "A query parameter is not valid",
    help: "The detail names the parameter and what it takes. Cursors are used as they were given, within their listing.",
  },
  "invalid-idempotency-key": {
    status: 400,
    title: "The Idempotency-Key is not valid",
    help: "Send one Idempotency-Key of 1 to 255 printable ASCII characters.",
  },
  "idempotency-key-required": {
    status: 400,
    title: "This operation requires an Idempotency-Key",
    help: "Send a random key such as a UUID, and the same one when you repeat the request.",
  },
  unauthenticated: {
    status: 401,
    title: "Credentials are missing or not valid",
    help: "Send one `Authorization: Bearer …` header with an API key or a JWT that has not expired.",
  },
  forbidden: {
    status: 403,
    title: "The credentials do not allow this",
    help: "They are valid, but lack the scope that the detail names.",
  },
  "not-found": {
    status: 404,
    title: "There is nothing here",
    help: "No such resource, or it is not yours. The answer is the same for both.",
  },
  "result-not-ready": {
    status: 404,
    title: "The job has no result yet",
    help: "Follow the monitor (Link rel=monitor) and come back after Retry-After seconds.",
  },
  "method-not-allowed": {
    status: 405,
    title: "This resource does not take that method",
    help: "The Allow header lists those that it takes.",
  },
  "request-timeout": {
    status: 408,
    title: "The request took too long to arrive",
    help: "Send headers and body without long pauses.",
  },
  "already-settled": {
    status: 409,
    title: "The job has already ended",
    help: "A completed or failed job can't be canceled. The `job` member is its status document.",
  },
  "job-canceled": {
    status: 409,
    title: "The job was canceled",
    help: "A canceled job has no result. Submit it again to have it done.",
  },
  "lease-lost": {
    status: 409,
    title: "The attempt is no longer yours",
    help: "Its lease lapsed, it was settled, or a later attempt runs. Nothing was changed; stop working on it.",
  },
  gone: {
    status: 410,
    title: "The job has expired",
    help: "Its outcome was kept for the operation's retention and then deleted.",
  },
  "too-large": {
    status: 413,
    title: "The body is too large",
    help: "The detail names the limit in bytes.",
  },
  "unsupported-media-type": {
    status: 415,
    title: "The body is not of a type that this takes",
    help: "Send `application/json` in UTF-8 without content encoding, or a media type that the operation lists.",
  },
  "range-not-satisfiable": {
    status: 416,
    title: "The range lies outside of the file",
    help: "Content-Range tells the file's length.",
  },
  "invalid-input": {
    status: 422,
    title: "The input is not what the operation takes",
    help: "`errors` lists what is wrong, and where, by JSON pointer. The operation's schema is in the OpenAPI document.",
  },
  "idempotency-key-reused": {
    status: 422,
    title: "The key or id was used for another request",
    help: "The same Idempotency-Key or job id with another payload has no effect. Use a new one for a new request.",
  },
  "rate-limited": {
    status: 429,
    title: "Too many requests",
    help: "Come back after Retry-After seconds. RateLimit tells what is left. Repeats and dry runs count too.",
  },
  "over-quota": {
    status: 429,
    title: "Too many active jobs",
    help: "Your tier's number of queued and processing jobs is reached. Wait for some to end, or cancel some.",
  },
  "headers-too-large": {
    status: 431,
    title: "The header section is too large",
    help: "Send at most 100 header fields and 16 KiB of them.",
  },
  "internal-error": {
    status: 500,
    title: "The server made a mistake",
    help: "It was logged. The `instance` member helps the operator to find it.",
  },
  unavailable: {
    status: 503,
    title: "The server can't do this now",
    help: "Nothing was accepted. Repeat the request, with the same Idempotency-Key, after Retry-After seconds.",
  },
  "backlog-full": {
    status: 503,
    title: "Too many jobs are waiting",
    help: "The operation's backlog is full. Come back after Retry-After seconds.",
  },
  "deadline-unattainable": {
    status: 503,
    title: "The deadline can't be kept",
    help: "By the estimate the job would not start in time, so it was not accepted.",
  },
  "version-not-supported": {
    status: 505,
    title: "This HTTP version is not supported",
    help: "Use HTTP/1.1.",
  },
  "attempt-failed": {
    status: 500,
    title: "The work failed",
    help: "The handler failed, and no attempt is left. The detail is what it said.",
  },
  "timed-out": {
    status: 504,
    title: "The work took too long",
    help: "Its attempts ran longer than the operation allows.",
  },
  "deadline-exceeded": {
    status: 504,
    title: "The work did not start in time",
    help: "The deadline passed while the job was waiting.",
  },
  "worker-lost": {
    status: 500,
    title: "The work was given up",
    help: "Its worker was lost three times while it ran, so it is not tried again.",
  },
  "invalid-result": {
    status: 500,
    title: "The work gave a result of the wrong shape",
    help: "The handler's result does not match the operation's output schema.",
  },
} as const satisfies Record<string, Entry>;

/** A name of the catalogue. */
export type ProblemName = keyof typeof PROBLEMS;

/** A problem document of the catalogue. The detail is for people and never repeats the caller's input. */
export function problem(
  name: ProblemName,
  detail?: string,
  extensions?: Readonly<Record<string, unknown>>,
): ProblemDocument {
  const { status, title } = PROBLEMS[name];
  return { type: name, title, status, ...(detail === undefined ? {} : { detail }), ...extensions };
}

/** The same document as it goes out: its `type` a URL, below `base` where it is ours; a handler's own name as its `code`. */
export function publishProblem(document: ProblemDocument, base: string): ProblemDocument {
  const { type } = document;
  if (/^[a-z]+:/i.test(type)) return document;
  if (Object.hasOwn(PROBLEMS, type)) return { ...document, type: `${base}/problems/${type}` };
  // Only the catalogue's names have a page there.
  return { ...document, type: `${base}/problems/attempt-failed`, code: type };
}
