// The schemas of the OpenAPI document: what every server says alike, and what its operations take and give.

import { STATUSES } from "../core/job.ts";
import type { ReadyOperation } from "../core/operations.ts";

export type Json = Readonly<Record<string, unknown>>;

/** The names of an operation's schemas: `RenderReportInput`, `RenderReportResult`, `RenderReportStatus`. */
export function schemaName(operation: string, part: "Input" | "Result" | "Status"): string {
  // Every name of an operation gives another one here: a part without a first letter is told by an underscore.
  const parts = operation
    .split("-")
    .map((word) => (/^[a-z]/.test(word) ? word[0]!.toUpperCase() + word.slice(1) : `_${word}`));
  return `${parts.join("")}${part}`;
}

/** A reference to a schema of the document. */
export function schemaRef(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

/** A reference to what an operation takes; null where it takes nothing. */
export function inputRef({ operation, input }: ReadyOperation): Json | null {
  return input === null ? null : schemaRef(schemaName(operation.name, "Input"));
}

/** The schemas of an operation, by name. */
export function operationSchemas({ operation, input, output }: ReadyOperation): Json {
  const { name, title } = operation;
  const names = { input: schemaName(name, "Input"), result: schemaName(name, "Result") };
  return {
    ...(input === null ? {} : { [names.input]: relocate(input.json ?? ANY, names.input) }),
    [names.result]:
      output === null
        ? { description: `What "${title}" gives: any JSON, or a file.` }
        : relocate(output.json ?? ANY, names.result),
    [schemaName(name, "Status")]: {
      allOf: [schemaRef("Status"), { type: "object", properties: { operation: { const: name } } }],
      description: `The status document of "${title}".`,
    },
  };
}

// A library that can't write its schema down still checks it.
const ANY: Json = { description: "Checked by the server; its schema can't be written as JSON Schema." };

/** A schema moved to where the document keeps it: its references to itself (`#`, `#/$defs/…`) move along. */
export function relocate(schema: unknown, name: string): Json {
  const { $schema: _, $id: __, ...rest } = schema as Record<string, unknown>;
  return moved(rest, `#/components/schemas/${name}`) as Json;
}

function moved(node: unknown, root: string): unknown {
  if (Array.isArray(node)) return node.map((item) => moved(item, root));
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => {
      const refers = key === "$ref" && typeof value === "string" && value.startsWith("#");
      return [key, refers ? `${root}${(value as string).slice(1)}` : moved(value, root)];
    }),
  );
}

const INSTANT: Json = { type: "string", format: "date-time" };
const INSTANT_OR_NULL: Json = { type: ["string", "null"], format: "date-time" };

const STATUS: Json = {
  type: "object",
  description: "A job as its owner sees it. Instants are RFC 3339, in UTC.",
  required: [
    ...[
      "id",
      "operation",
      "status",
      "progress",
      "message",
      "position",
      "attempt",
      "maxAttempts",
      "createdAt",
    ],
    ...["dueAt", "startedAt", "updatedAt", "finishedAt", "expiresAt", "cancelRequestedAt"],
    ...["estimatedCompletion", "waitingFor", "statusUrl", "resultUrl", "files", "error"],
  ],
  properties: {
    id: { type: "string", description: "Unguessable; it is no credential." },
    operation: { type: "string" },
    status: {
      type: "string",
      enum: STATUSES,
      description: "The last three are ends: nothing changes after them.",
    },
    progress: {
      type: ["number", "null"],
      minimum: 0,
      maximum: 100,
      description: "Percent, as the work reports it.",
    },
    message: { type: ["string", "null"], description: "What is being done, as the work reports it." },
    position: {
      type: ["integer", "null"],
      minimum: 1,
      description: "The place in the line, exact, from 1; null where the job does not stand in line.",
    },
    attempt: {
      type: "integer",
      minimum: 0,
      description: "The number of the last attempt; 0 before the first.",
    },
    maxAttempts: { type: "integer", minimum: 1, description: "How many attempts may fail." },
    createdAt: INSTANT,
    dueAt: { ...INSTANT, description: "When the next attempt may begin." },
    startedAt: { ...INSTANT_OR_NULL, description: "When the current or last attempt began." },
    updatedAt: INSTANT,
    finishedAt: INSTANT_OR_NULL,
    expiresAt: {
      ...INSTANT_OR_NULL,
      description: "When the outcome is forgotten; null until the job has ended.",
    },
    cancelRequestedAt: INSTANT_OR_NULL,
    estimatedCompletion: { ...INSTANT_OR_NULL, description: "The median of what is expected." },
    waitingFor: {
      enum: ["turn", "quota", "retry", "delay", "no-worker", "paused", null],
      description: "Why a queued job waits.",
    },
    statusUrl: { type: "string", format: "uri" },
    resultUrl: { type: "string", format: "uri" },
    files: { type: "array", items: schemaRef("File"), description: "The files of a completed job." },
    error: {
      anyOf: [schemaRef("Problem"), { type: "null" }],
      description: "Why the job failed; in a queued job, why its last attempt did.",
    },
  },
};

const PROBLEM_PROPERTIES: Json = {
  type: {
    type: "string",
    format: "uri-reference",
    description: "What kind of problem; the URL explains it.",
  },
  title: { type: "string" },
  status: { type: "integer", minimum: 100, maximum: 599, description: "The HTTP status." },
  detail: { type: "string", description: "What is wrong here, for people." },
  instance: { type: "string", format: "uri-reference", description: "Which occurrence, for the operator." },
  code: { type: "string", description: "What kind of failure, where the operation tells several apart." },
};

/** The schemas that every document has, by name. */
export const SCHEMAS: Json = {
  Status: STATUS,
  File: {
    type: "object",
    description: "A file of a completed job.",
    required: ["name", "type", "bytes", "sha256", "url"],
    properties: {
      name: { type: "string" },
      type: { type: "string", description: "Media type." },
      bytes: { type: "integer", minimum: 0 },
      sha256: { type: "string", description: "Lower-case hex." },
      url: { type: "string", format: "uri" },
    },
  },
  StatusPage: {
    type: "object",
    description: "A page of a listing, newest first.",
    required: ["jobs", "next"],
    properties: {
      jobs: { type: "array", items: schemaRef("Status") },
      next: { type: ["string", "null"], format: "uri", description: "The next page; null at the end." },
    },
  },
  Preview: {
    type: "object",
    description: "What a submit would meet. Nothing was accepted.",
    required: ["repeats", "position", "estimatedCompletion", "quota"],
    properties: {
      repeats: {
        type: ["string", "null"],
        format: "uri",
        description: "The monitor of the job that this would repeat; null: it would be a new one.",
      },
      position: {
        type: ["integer", "null"],
        minimum: 1,
        description: "Of the new job, or of the repeated one; null where that stands in no line.",
      },
      estimatedCompletion: { ...INSTANT_OR_NULL, description: "null: the repeated job has ended." },
      quota: {
        type: "object",
        description: "The owner's active jobs.",
        required: ["active", "limit", "cost"],
        properties: {
          active: { type: "integer", minimum: 0, description: "Queued and processing now." },
          limit: { type: ["integer", "null"], minimum: 1, description: "null: no limit." },
          cost: { enum: [0, 1], description: "0: it would be a repeat." },
        },
      },
    },
  },
  Problem: {
    type: "object",
    description: "A problem document (RFC 9457). It may have further members.",
    required: ["type", "title", "status"],
    properties: PROBLEM_PROPERTIES,
  },
  InputProblem: {
    type: "object",
    description: "A problem document that lists what is wrong with the input.",
    required: ["type", "title", "status"],
    properties: {
      ...PROBLEM_PROPERTIES,
      errors: {
        type: "array",
        items: {
          type: "object",
          required: ["detail", "pointer"],
          properties: {
            detail: { type: "string" },
            pointer: { type: "string", description: 'Where, as a JSON pointer (RFC 6901); "" is the whole.' },
          },
        },
      },
    },
  },
  SettledProblem: {
    type: "object",
    description: "A problem document with the job as it stands.",
    required: ["type", "title", "status"],
    properties: { ...PROBLEM_PROPERTIES, job: schemaRef("Status") },
  },
};
