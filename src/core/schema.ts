// Schemas of operations: what a developer writes (Standard Schema or JSON Schema) made into a check and a document.

import type { StandardJSONSchemaV1, StandardSchemaV1 } from "@standard-schema/spec";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";

/** A JSON Schema (2020-12), such as TypeBox makes them. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** What an operation's `input` and `output` may be: zod, valibot, arktype, … or JSON Schema. */
export type Schema = StandardSchemaV1 | JsonSchema;

/** The type that a handler receives: after the schema's own transforms. */
export type Parsed<S> = S extends StandardSchemaV1
  ? StandardSchemaV1.InferOutput<S>
  : S extends { readonly static: infer T }
    ? T
    : unknown;

/** The type that a caller sends: before the schema's own transforms. */
export type Sent<S> = S extends StandardSchemaV1
  ? StandardSchemaV1.InferInput<S>
  : S extends { readonly static: infer T }
    ? T
    : unknown;

/** One thing that is wrong with a value: what, and where (RFC 6901 pointer, "" for the whole). */
export interface Violation {
  readonly detail: string;
  readonly pointer: string;
}

export type Checked = { readonly value: unknown } | { readonly errors: readonly Violation[] };

/** A schema made ready. */
export interface Checker {
  /** The JSON Schema, with objects closed to unknown members; null where the library can't give one. */
  readonly json: JsonSchema | null;
  /** Whether the value is what the schema asks for; `value` is after its transforms. Never throws. */
  check(value: unknown): Checked | Promise<Checked>;
  /** The same for text that a URL's query carries: "12" may stand for 12. */
  coerce(value: Readonly<Record<string, unknown>>): Record<string, unknown>;
}

const MAX_ERRORS = 20;

/** Makes a schema ready. Throws a `TypeError` in one sentence where it is none. */
export function compileSchema(schema: Schema, what: string): Checker {
  const standard = isStandard(schema) ? schema : null;
  const json = standard === null ? (schema as JsonSchema) : jsonSchemaOf(standard, what);
  const closed = json === null ? null : (close(json) as JsonSchema);
  const strict = closed === null ? null : compile(closed, what, false);
  let coercing: ValidateFunction | null = null;
  return {
    json: closed,
    check(value) {
      if (strict !== null && !strict(value)) {
        const errors = violations(strict);
        // The library's own words are the developer's: better to read than the schema's keywords.
        return standard === null ? { errors } : inOwnWords(standard, value, errors);
      }
      if (standard === null) return { value };
      const outcome = standard["~standard"].validate(value);
      return outcome instanceof Promise ? outcome.then(fromStandard) : fromStandard(outcome);
    },
    coerce(value) {
      const copy = { ...value };
      // Made for those who send files alone. Only its side effect is wanted; what is wrong is said by `check`.
      if (closed !== null) coercing ??= compile(closed, what, true);
      coercing?.(copy);
      return copy;
    },
  };
}

function inOwnWords(
  standard: StandardSchemaV1,
  value: unknown,
  errors: readonly Violation[],
): Checked | Promise<Checked> {
  const choose = (outcome: StandardSchemaV1.Result<unknown>) =>
    outcome.issues === undefined ? { errors } : fromStandard(outcome);
  const outcome = standard["~standard"].validate(value);
  return outcome instanceof Promise ? outcome.then(choose) : choose(outcome);
}

function compile(schema: JsonSchema, what: string, coerceTypes: boolean): ValidateFunction {
  const ajv = new Ajv2020({ allErrors: false, strict: false, coerceTypes, logger: false });
  (formats as unknown as (ajv: Ajv2020) => void)(ajv);
  try {
    return ajv.compile(schema);
  } catch (error) {
    throw new TypeError(`${what} is not a valid JSON Schema: ${(error as Error).message}.`);
  }
}

function violations(validate: ValidateFunction): Violation[] {
  return (validate.errors ?? []).slice(0, MAX_ERRORS).map((error) => {
    const unknown = error.keyword === "additionalProperties" || error.keyword === "unevaluatedProperties";
    return {
      // Names of unknown members are the caller's own text: they are not repeated.
      detail: unknown ? "has a member that the schema does not know" : (error.message ?? "is not valid"),
      pointer: error.instancePath,
    };
  });
}

function fromStandard(outcome: StandardSchemaV1.Result<unknown>): Checked {
  if (outcome.issues === undefined) return { value: outcome.value };
  return {
    errors: outcome.issues.slice(0, MAX_ERRORS).map((issue) => ({
      detail: issue.message,
      pointer: (issue.path ?? [])
        .map((part) => String(typeof part === "object" ? part.key : part))
        .map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`)
        .join(""),
    })),
  };
}

function isStandard(schema: Schema): schema is StandardSchemaV1 {
  const kind = typeof schema;
  return (kind === "object" || kind === "function") && "~standard" in schema;
}

function jsonSchemaOf(schema: StandardSchemaV1, what: string): JsonSchema | null {
  const props = schema["~standard"] as Partial<StandardJSONSchemaV1.Props>;
  if (props.jsonSchema === undefined) return null;
  try {
    const { $schema: _, ...json } = props.jsonSchema.input({ target: "draft-2020-12" });
    return json;
  } catch (error) {
    throw new TypeError(`${what} can't be written as JSON Schema: ${(error as Error).message}.`);
  }
}

// A caller's misspelt member must not be dropped in silence, so an object that lists its members and does not
// say that it takes others is closed. Below `allOf` it is left as it is: there each part sees the others' members.
function close(node: unknown, insideAllOf = false): unknown {
  if (Array.isArray(node)) return node.map((item) => close(item, insideAllOf));
  if (typeof node !== "object" || node === null) return node;
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(node)) {
    if (SCHEMA_MAPS.has(key) && typeof value === "object" && value !== null) {
      copy[key] = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, close(inner)]));
    } else {
      copy[key] = SCHEMAS.has(key) ? close(value, key === "allOf") : value;
    }
  }
  const open = copy.additionalProperties === undefined && copy.unevaluatedProperties === undefined;
  if (copy.properties !== undefined && open && copy.allOf === undefined && !insideAllOf) {
    copy.additionalProperties = false;
  }
  return copy;
}

const SCHEMA_MAPS = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"]);
const SCHEMAS = new Set([
  "items",
  "prefixItems",
  "additionalProperties",
  "contains",
  "not",
  "if",
  "then",
  "else",
  "anyOf",
  "oneOf",
  "allOf",
]);
