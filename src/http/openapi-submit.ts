// How jobs are submitted, in the OpenAPI document: POST to an operation, and PUT of a job.

import type { Operations, ReadyOperation } from "../core/operations.ts";
import { JSON_TYPE } from "../protocol/answer.ts";
import { commonRefusals, jsonAnswer, refusalRefs } from "./openapi-answers.ts";
import { fieldRefs, PARAMETERS, parameterRef } from "./openapi-fields.ts";
import { sampleOf } from "./openapi-sample.ts";
import { inputRef, type Json, relocate, schemaName, schemaRef } from "./openapi-schemas.ts";

/** The path item of an operation; `guarded` adds what access asks for. */
export function submitPath(ready: ReadyOperation, guarded: (scope: string) => Guarded): Json {
  const { operation } = ready;
  const { security, answers } = guarded("submit");
  const body = requestBody(ready);
  return {
    post: {
      operationId: `submit-${operation.name}`,
      tags: ["Operations"],
      summary: operation.title,
      ...(operation.description === "" ? {} : { description: operation.description }),
      ...security,
      parameters: [
        operation.idempotency === "required"
          ? { ...PARAMETERS.IdempotencyKey, required: true }
          : parameterRef("IdempotencyKey"),
        ...TERMS,
        parameterRef("DryRun"),
        ...fileParameters(ready),
      ],
      ...(body === null ? {} : { requestBody: body }),
      responses: { ...accepted(operation.name), ...answers, ...SUBMIT_REFUSALS },
    },
  };
}

/** PUT /jobs/{id}: the same by an id of the caller's own. */
export function putJob(operations: Operations, guarded: (scope: string) => Guarded): Json {
  const { security, answers } = guarded("submit");
  const envelopes = [...operations.values()]
    .filter(({ operation }) => operation.file?.required !== true)
    .map(envelope);
  const [first, ...others] = envelopes;
  return {
    operationId: "putJob",
    tags: ["Jobs"],
    summary: "Submit with an id of one's own",
    description:
      "The id makes it idempotent: a repeat of the same request is the same job, another request under the same id is refused. " +
      "An Idempotency-Key has no part in it, nor has equal content. " +
      "Operations that require a file are submitted by POST.",
    ...security,
    parameters: [...TERMS, parameterRef("DryRun")],
    requestBody: {
      required: true,
      content: {
        [JSON_TYPE]: {
          schema:
            others.length > 0 ? { oneOf: envelopes } : (first ?? { type: "object", required: ["operation"] }),
        },
      },
    },
    responses: { ...accepted(null), ...answers, ...SUBMIT_REFUSALS },
  };
}

/** What access asks for, and how it refuses. */
export interface Guarded {
  readonly security: Json;
  readonly answers: Json;
}

const TERMS = (["SubmitPrefer", "Deadline", "Delay", "Priority", "Traceparent", "Tracestate"] as const).map(
  parameterRef,
);

const SUBMIT_REFUSALS: Json = {
  ...commonRefusals(),
  ...refusalRefs("BadSubmit", "TooSlow", "Canceled", "Gone", "TooLarge", "UnsupportedType", "InvalidInput"),
  ...refusalRefs("TooMany", "WorkFailed", "Refused", "WorkTooSlow", "Failed"),
};

const BINARY: Json = { type: "string", format: "binary" };

/** 202, and 200 for whoever waited or only tried. */
function accepted(operation: string | null): Json {
  const status = operation === null ? schemaRef("Status") : schemaRef(schemaName(operation, "Status"));
  const result: Json = operation === null ? {} : schemaRef(schemaName(operation, "Result"));
  return {
    "200": {
      description:
        "With `Prefer: wait`: the job is completed, and this is its result, as its URL gives it. With `dry-run=true`: what a submit would meet.",
      headers: fieldRefs(
        ...(["Content-Location", "Link", "ETag", "Preference-Applied", "Idempotency-Replayed"] as const),
        ...(["RateLimit", "RateLimit-Policy", "Content-Disposition", "Accept-Ranges"] as const),
      ),
      content: {
        [JSON_TYPE]: { schema: operation === null ? {} : { anyOf: [result, schemaRef("Preview")] } },
        "*/*": { schema: BINARY },
      },
    },
    "202": {
      ...jsonAnswer("Accepted: the job is stored, and this is its status document.", status, [
        ...(["Location", "Content-Location", "Retry-After", "Link", "Preference-Applied"] as const),
        ...(["Idempotency-Replayed", "RateLimit", "RateLimit-Policy"] as const),
      ]),
      links: LINKS,
    },
  };
}

const ID: Json = { id: "$response.body#/id" };

const LINKS: Json = {
  monitor: { operationId: "getJob", parameters: ID, description: "Follow the job." },
  result: { operationId: "getResult", parameters: ID, description: "Its result, once it is completed." },
  cancel: { operationId: "cancelJob", parameters: ID, description: "Cancel it." },
};

function requestBody(ready: ReadyOperation): Json | null {
  const { operation, input } = ready;
  const { file } = operation;
  const content: Record<string, Json> = {};
  const ref = inputRef(ready);
  // A file of JSON's own type is a file.
  if (ref !== null && file?.required !== true && file?.types.includes(JSON_TYPE) !== true) {
    const example = input === null ? undefined : sampleOf(input);
    content[JSON_TYPE] = { schema: ref, ...(example === undefined ? {} : { example }) };
  }
  if (file !== null) {
    content["multipart/form-data"] = {
      schema: {
        type: "object",
        ...(file.required ? { required: ["file"] } : {}),
        properties: { file: BINARY, ...(ref === null ? {} : { input: ref }) },
      },
      encoding: {
        file: { contentType: file.types.join(", ") },
        ...(ref === null ? {} : { input: { contentType: JSON_TYPE } }),
      },
    };
    for (const type of file.types) content[type] = { schema: BINARY };
  }
  if (Object.keys(content).length === 0) return null;
  const limits = [
    ...(content[JSON_TYPE] === undefined ? [] : [`JSON of at most ${operation.maxBodyBytes} bytes`]),
    ...(file === null
      ? []
      : [
          `a file of at most ${file.maxBytes} bytes as the whole body, with its name in Content-Disposition and the input in the query`,
          "`multipart/form-data` with the file and the field `input` (JSON), or the input's members as fields",
        ]),
  ];
  const sentence = limits.join("; or ");
  return {
    description: `${sentence[0]?.toUpperCase()}${sentence.slice(1)}.`,
    required: ref !== null || file?.required === true,
    content,
  };
}

/** The input of a file that is the whole body: its members, in the query. */
function fileParameters({ operation, input }: ReadyOperation): Json[] {
  if (operation.file === null || input?.json == null) return [];
  const schema = relocate(input.json, schemaName(operation.name, "Input"));
  const properties = (schema.properties ?? {}) as Readonly<Record<string, Json>>;
  return Object.entries(properties)
    .filter(([name, property]) => name !== "dry-run" && property.type !== "object")
    .map(([name, property]) => {
      const { description, ...rest } = property;
      const says = typeof description === "string" ? ` ${description}` : "";
      return { name, in: "query", description: `Where the body is the file itself.${says}`, schema: rest };
    });
}

function envelope(ready: ReadyOperation): Json {
  const input = inputRef(ready);
  return {
    type: "object",
    title: ready.operation.title,
    required: input === null ? ["operation"] : ["operation", "input"],
    properties: { operation: { const: ready.operation.name }, input: input ?? { type: "null" } },
    additionalProperties: false,
  };
}
