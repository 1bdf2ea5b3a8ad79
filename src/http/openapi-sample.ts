// Examples for the OpenAPI document, made from a schema and shown only if the schema takes them.

import type { Checker } from "../core/schema.ts";

/** A small value that the checker takes; undefined where none is found without guessing. */
export function sampleOf(checker: Checker): unknown {
  if (checker.json === null) return undefined;
  const value = sample(checker.json, 0);
  if (value === undefined) return undefined;
  const checked = checker.check(value);
  // A schema that must wait for something is not asked.
  if (checked instanceof Promise) {
    checked.catch(() => {});
    return undefined;
  }
  return "value" in checked ? value : undefined;
}

type Schema = Readonly<Record<string, unknown>>;

// Deeper examples help nobody.
const MOST_DEPTH = 6;

function sample(node: unknown, depth: number): unknown {
  if (typeof node !== "object" || node === null || depth > MOST_DEPTH) return undefined;
  const schema = node as Schema;
  const [first] = [...listOf(schema.examples), ...listOf(schema.enum)];
  if (schema.example !== undefined) return schema.example;
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined) return schema.default;
  if (first !== undefined) return first;
  const choice = [...listOf(schema.anyOf), ...listOf(schema.oneOf)][0];
  if (choice !== undefined) return sample(choice, depth + 1);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type) {
    case "object":
      return sampleObject(schema, depth);
    case "array":
      return sampleArray(schema, depth);
    case "string":
      return sampleText(schema);
    case "number":
    case "integer":
      return sampleNumber(schema);
    case "boolean":
      return true;
    case "null":
      return null;
    default:
      return undefined;
  }
}

function sampleObject(schema: Schema, depth: number): unknown {
  const properties = (schema.properties ?? {}) as Schema;
  const required = listOf(schema.required);
  const value: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(properties)) {
    const shown = sample(property, depth + 1);
    if (shown === undefined) {
      if (required.includes(name)) return undefined;
      continue;
    }
    const { default: preset, enum: words } = property as {
      readonly default?: unknown;
      readonly enum?: unknown;
    };
    // What may be left out is shown where it says something: a default, or a word to choose.
    if (required.includes(name) || preset !== undefined || words !== undefined) value[name] = shown;
  }
  return value;
}

function sampleArray(schema: Schema, depth: number): unknown {
  const item = sample(schema.items, depth + 1);
  const count = Math.max(1, Number(schema.minItems ?? 1));
  return item === undefined || count > 3 ? undefined : new Array(count).fill(item);
}

const FORMATS: Readonly<Record<string, string>> = {
  date: "2030-01-31",
  "date-time": "2030-01-31T12:00:00Z",
  email: "ada@example.org",
  uri: "https://example.org/",
  uuid: "8e03978e-40d5-43dd-bc93-6894a57f9324",
};

function sampleText({ format, minLength, pattern }: Schema): string | undefined {
  if (typeof format === "string") return FORMATS[format];
  if (pattern !== undefined) return undefined;
  return "text".padEnd(Number(minLength ?? 0), ".");
}

function sampleNumber({ minimum, exclusiveMinimum, multipleOf }: Schema): number {
  const step = Number(multipleOf ?? 1);
  const least = Number(minimum ?? exclusiveMinimum ?? 1);
  const value = Math.ceil(Math.max(least, 1) / step) * step;
  return exclusiveMinimum !== undefined && value <= Number(exclusiveMinimum) ? value + step : value;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
