// The answers of the OpenAPI document: refusals out of the catalogue of problems, and what is said of jobs.

import { PROBLEMS, type ProblemName } from "../core/problem.ts";
import { JSON_TYPE, PROBLEM_TYPE } from "../protocol/answer.ts";
import { type FIELDS, fieldRefs } from "./openapi-fields.ts";
import { type Json, schemaRef } from "./openapi-schemas.ts";

type FieldName = keyof typeof FIELDS;

/** Refers to refusals of `REFUSALS`, by status. */
export function refusalRefs(...names: readonly RefusalName[]): Json {
  return Object.fromEntries(
    names.map((name) => [String(REFUSALS[name].status), { $ref: `#/components/responses/${name}` }]),
  );
}

/** An answer with a JSON body. */
export function jsonAnswer(
  description: string,
  schema: Json,
  fields: readonly FieldName[] = [],
  example?: Json,
): Json {
  const content = { schema, ...(example === undefined ? {} : { example }) };
  return { description, ...headersOf(fields), content: { [JSON_TYPE]: content } };
}

/** An answer without a body. */
export function emptyAnswer(description: string, fields: readonly FieldName[] = []): Json {
  return { description, ...headersOf(fields) };
}

/** The same answers as to a GET, without their bodies (RFC 9110 §9.3.2). */
export function withoutBodies(answers: Json): Json {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => {
      const { $ref } = answer as { readonly $ref?: string };
      const name = $ref?.split("/").at(-1) as RefusalName | undefined;
      const { description, headers } =
        name === undefined ? (answer as Json) : ({ ...describe(REFUSALS[name]), headers: undefined } as Json);
      return [status, { description, ...(headers === undefined ? {} : { headers }) }];
    }),
  );
}

/** What any request may be answered with, by status; a route's own answers come on top. */
export function commonRefusals(): Json {
  return refusalRefs("BadRequest", "HeadersTooLarge", "InternalError", "Unavailable");
}

interface Refusal {
  readonly status: number | "default";
  readonly problems: readonly ProblemName[];
  readonly fields?: readonly FieldName[];
  readonly schema?: string;
  readonly says?: string;
}

/** Every refusal that a route may answer with. */
export const REFUSALS = {
  BadSubmit: {
    status: 400,
    problems: [
      "invalid-request",
      "invalid-json",
      "invalid-query",
      "invalid-idempotency-key",
      "idempotency-key-required",
    ],
  },
  BadRequest: { status: 400, problems: ["invalid-request", "invalid-query"] },
  Unauthenticated: { status: 401, problems: ["unauthenticated"], fields: ["WWW-Authenticate"] },
  Forbidden: { status: 403, problems: ["forbidden"], fields: ["WWW-Authenticate"] },
  NotFound: { status: 404, problems: ["not-found"] },
  NotReady: { status: 404, problems: ["result-not-ready", "not-found"], fields: ["Retry-After", "Link"] },
  TooSlow: { status: 408, problems: ["request-timeout"] },
  AlreadySettled: { status: 409, problems: ["already-settled"], schema: "SettledProblem" },
  Canceled: { status: 409, problems: ["job-canceled"] },
  Gone: { status: 410, problems: ["gone"] },
  TooLarge: { status: 413, problems: ["too-large"] },
  UnsupportedType: { status: 415, problems: ["unsupported-media-type"] },
  RangeNotSatisfiable: { status: 416, problems: ["range-not-satisfiable"], fields: ["Content-Range"] },
  InvalidInput: {
    status: 422,
    problems: ["invalid-input", "idempotency-key-reused"],
    schema: "InputProblem",
  },
  TooMany: {
    status: 429,
    problems: ["rate-limited", "over-quota"],
    fields: ["Retry-After", "RateLimit", "RateLimit-Policy"],
  },
  HeadersTooLarge: { status: 431, problems: ["headers-too-large"] },
  InternalError: { status: 500, problems: ["internal-error"] },
  WorkFailed: {
    status: 500,
    problems: ["attempt-failed", "worker-lost", "invalid-result", "internal-error"],
  },
  WorkTooSlow: { status: 504, problems: ["timed-out", "deadline-exceeded"] },
  Failed: {
    status: "default",
    problems: [],
    says: "The job failed with a problem of its own, under that problem's status.",
  },
  Refused: {
    status: 503,
    problems: ["unavailable", "backlog-full", "deadline-unattainable"],
    fields: ["Retry-After"],
  },
  Unavailable: { status: 503, problems: ["unavailable"], fields: ["Retry-After"] },
} as const satisfies Record<string, Refusal>;

export type RefusalName = keyof typeof REFUSALS;

/** The refusals that are used, written out. */
export function refusalAnswers(publicUrl: string, used: ReadonlySet<string>): Json {
  return Object.fromEntries(
    Object.entries(REFUSALS as Record<string, Refusal>)
      .filter(([name]) => used.has(name))
      .map(([name, refusal]) => [name, refusalAnswer(publicUrl, refusal)]),
  );
}

function refusalAnswer(publicUrl: string, refusal: Refusal): Json {
  const examples = refusal.problems.map((name) => {
    const { status, title } = PROBLEMS[name];
    return [name, { summary: title, value: { type: `${publicUrl}/problems/${name}`, title, status } }];
  });
  return {
    ...describe(refusal),
    ...headersOf(refusal.fields ?? []),
    content: {
      [PROBLEM_TYPE]: {
        schema: schemaRef(refusal.schema ?? "Problem"),
        ...(examples.length === 0 ? {} : { examples: Object.fromEntries(examples) }),
      },
    },
  };
}

function describe({ problems, says }: Refusal): Json {
  if (says !== undefined) return { description: says };
  const lines = problems.map((name) => `\`${name}\`: ${PROBLEMS[name].title}. ${PROBLEMS[name].help}`);
  return {
    description: lines.length === 1 ? (lines[0] as string) : lines.map((line) => `- ${line}`).join("\n"),
  };
}

function headersOf(fields: readonly FieldName[]): Json {
  return fields.length === 0 ? {} : { headers: fieldRefs(...fields) };
}
