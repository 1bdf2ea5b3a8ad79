// The header fields and parameters of the OpenAPI document.

import { STATUSES } from "../core/job.ts";
import { CALLERS_ID } from "./limits.ts";
import type { Json } from "./openapi-schemas.ts";

/** A reference to a parameter of the document. */
export function parameterRef(name: keyof typeof PARAMETERS): Json {
  return { $ref: `#/components/parameters/${name}` };
}

/** References to response header fields of the document, by their names. */
export function fieldRefs(...names: readonly (keyof typeof FIELDS)[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

const text = { type: "string" };
const url = { type: "string", format: "uri" };
const seconds = { type: "integer", minimum: 1 };

/** Response header fields, by name. */
export const FIELDS = {
  Location: { description: "The URL of the monitor, or of the result.", schema: url },
  "Content-Location": { description: "Where GET answers with this same body.", schema: url },
  "Retry-After": {
    description: "When to come back: whole seconds, an estimate.",
    schema: seconds,
    example: 2,
  },
  Link: {
    description:
      "RFC 8288. Of a job: rel=monitor, and extension relations for its result and its cancel; of a listing: rel=next.",
    schema: text,
  },
  ETag: { description: "The revision, for If-None-Match.", schema: text },
  "Preference-Applied": {
    description: "Which preferences were honoured (RFC 7240).",
    schema: text,
    example: "respond-async",
  },
  "Idempotency-Replayed": {
    description: "The request is a repeat: this is the job that the first one made.",
    schema: { type: "string", const: "true" },
  },
  RateLimit: { description: "What is left of the rate.", schema: text, example: '"burst";r=50;t=30' },
  "RateLimit-Policy": {
    description: "The rate: so many submits (q) in so many seconds (w).",
    schema: text,
    example: '"burst";q=100;w=60',
  },
  "Content-Disposition": { description: "Always `attachment`, with the name of the file.", schema: text },
  "Accept-Ranges": {
    description: "Files can be fetched in parts.",
    schema: { type: "string", const: "bytes" },
  },
  "Content-Range": { description: "Which bytes of how many.", schema: text, example: "bytes 0-99/1000" },
  "WWW-Authenticate": { description: "RFC 6750.", schema: text, example: 'Bearer realm="coatcheck"' },
} as const satisfies Record<string, Json>;

const time = "Whole seconds, a duration such as `90s` or `2h`, or an RFC 3339 instant.";

/** Request parameters, by the name that refers to them. */
export const PARAMETERS = {
  JobId: {
    name: "id",
    in: "path",
    required: true,
    description: "The id of the job.",
    schema: text,
  },
  CallersJobId: {
    name: "id",
    in: "path",
    required: true,
    description: `A random id that the caller made: a UUID, or ${CALLERS_ID.least} to ${CALLERS_ID.most} letters, digits, hyphens and underscores.`,
    schema: { type: "string", pattern: `^[A-Za-z0-9_-]{${CALLERS_ID.least},${CALLERS_ID.most}}$` },
  },
  FileName: { name: "name", in: "path", required: true, description: "The name of the file.", schema: text },
  IdempotencyKey: {
    name: "Idempotency-Key",
    in: "header",
    description:
      "A random key such as a UUID, the same when the request is repeated: the repeat gets the same job. Bare or as a quoted string; 1 to 255 printable ASCII characters.",
    schema: text,
    example: "8e03978e-40d5-43dd-bc93-6894a57f9324",
  },
  SubmitPrefer: {
    name: "Prefer",
    in: "header",
    description:
      "`respond-async`: 202 at once. `wait=N`: the outcome itself, if the job ends within N seconds. `return=minimal`: no body. `handling=strict`: refuse what is not understood, preferences too.",
    schema: text,
    examples: { async: { value: "respond-async" }, wait: { value: "wait=10" } },
  },
  Prefer: {
    name: "Prefer",
    in: "header",
    description:
      "`wait=N`: answer once the job ends, after N seconds at the latest. `handling=strict`: refuse what is not understood, preferences too.",
    schema: text,
    example: "wait=30",
  },
  CancelPrefer: {
    name: "Prefer",
    in: "header",
    description: "`return=minimal`: no body. `handling=strict`: refuse preferences that are not understood.",
    schema: text,
    example: "return=minimal",
  },
  Deadline: {
    name: "Coatcheck-Deadline",
    in: "header",
    description: `Give the job up if it has not started by then. ${time}`,
    schema: text,
    example: "10m",
  },
  Delay: {
    name: "Coatcheck-Delay",
    in: "header",
    description: `Start it no earlier than this. ${time}`,
    schema: text,
    example: "1h",
  },
  Priority: {
    name: "Coatcheck-Priority",
    in: "header",
    description: "How much less urgent it is than the caller's tier allows.",
    schema: { type: "integer", minimum: -100, maximum: 0, default: 0 },
  },
  Traceparent: {
    name: "traceparent",
    in: "header",
    description: "W3C Trace Context; kept with the job.",
    schema: text,
  },
  Tracestate: {
    name: "tracestate",
    in: "header",
    description: "W3C Trace Context; kept with the job.",
    schema: text,
  },
  DryRun: {
    name: "dry-run",
    in: "query",
    description: "Judge the request as a submit would, and accept nothing. It counts to the rate.",
    schema: { type: "boolean", default: false },
  },
  Redirect: {
    name: "redirect",
    in: "query",
    description: "`false`: a completed job is answered 200 with its status document, not 303.",
    schema: { type: "boolean", default: true },
  },
  IfNoneMatch: {
    name: "If-None-Match",
    in: "header",
    description: "The ETag of an earlier answer: 304 if nothing has changed.",
    schema: text,
  },
  Range: {
    name: "Range",
    in: "header",
    description: "A part of a file.",
    schema: text,
    example: "bytes=0-1023",
  },
  IfRange: { name: "If-Range", in: "header", description: "Take the Range only of this ETag.", schema: text },
  ByStatus: {
    name: "status",
    in: "query",
    description: "One or several, separated by commas.",
    style: "form",
    explode: false,
    schema: { type: "array", items: { type: "string", enum: STATUSES } },
  },
  CreatedFrom: {
    name: "createdFrom",
    in: "query",
    description: "Inclusive.",
    schema: { type: "string", format: "date-time" },
  },
  CreatedTo: {
    name: "createdTo",
    in: "query",
    description: "Exclusive.",
    schema: { type: "string", format: "date-time" },
  },
  Limit: {
    name: "limit",
    in: "query",
    description: "How many jobs a page has.",
    schema: { type: "integer", minimum: 1, maximum: 200, default: 50 },
  },
  Cursor: {
    name: "cursor",
    in: "query",
    description: "Where a page ended, as its link to the next one says.",
    schema: text,
  },
} as const satisfies Record<string, Json>;
