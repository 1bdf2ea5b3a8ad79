// The operations of one server, their schemas made ready.

import type { Policy } from "./job.ts";
import { checkPlace, type Operation } from "./operation.ts";
import type { Backoff } from "./retry.ts";
import { type Checker, compileSchema } from "./schema.ts";

export interface ReadyOperation {
  readonly operation: Operation;
  /** Null where it takes no input. */
  readonly input: Checker | null;
  /** Null where its result is not checked. */
  readonly output: Checker | null;
}

export type Operations = ReadonlyMap<string, ReadyOperation>;

/**
 * Makes operations ready, by name. Throws a `TypeError` in one sentence where two share a name or a path, or one was made by
 * hand and is not what `defineOperation` gives.
 */
export function readyOperations(operations: readonly Operation[]): Operations {
  const ready = new Map<string, ReadyOperation>();
  const paths = new Set<string>();
  for (const operation of operations) {
    checkOperation(operation);
    const { name, path } = operation;
    if (ready.has(name)) throw new TypeError(`Two operations are named "${name}".`);
    if (paths.has(path)) throw new TypeError(`Two operations are submitted to "${path}".`);
    paths.add(path);
    ready.set(name, {
      operation,
      input: operation.input === null ? null : compileSchema(operation.input, `The input schema of ${name}`),
      output:
        operation.output === null ? null : compileSchema(operation.output, `The output schema of ${name}`),
    });
  }
  return ready;
}

/** What a member must be: the test, and the words for it. */
type Rule = readonly [holds: (value: unknown) => boolean, is: string];
type Rules<T> = { readonly [Name in keyof T]: Rule };

const TEXT: Rule = [(value) => typeof value === "string", "text"];
const MS = whole(0, Number.MAX_SAFE_INTEGER, "whole milliseconds");
const SCHEMA: Rule = [
  (value) => value === null || typeof value === "object" || typeof value === "function",
  "a schema or null",
];

const OPERATION: Rules<Omit<Operation, "name" | "path">> = {
  title: TEXT,
  description: TEXT,
  input: SCHEMA,
  output: SCHEMA,
  file: [isFilePolicy, "null, or have `types`, `maxBytes` and `required`"],
  policy: [isObject, "an object"],
  startWithinMs: orNull(MS),
  idempotency: oneOf("optional", "required"),
  dedupe: orNull(oneOf("content")),
  backlog: whole(1, 1e9),
  maxBodyBytes: whole(1, 2 ** 30),
};

const POLICY: Rules<Policy> = {
  maxAttempts: whole(1, 100),
  backoff: [isObject, "an object"],
  timeoutMs: MS,
  leaseMs: whole(1000, Number.MAX_SAFE_INTEGER, "whole milliseconds, at least 1000"),
  graceMs: MS,
  retentionMs: MS,
  priority: whole(-100, 100),
  weight: whole(1, 1000),
  running: orNull(whole(1, 1e9)),
  isolated: [(value) => typeof value === "boolean", "true or false"],
};

const BACKOFF: Rules<Backoff> = {
  kind: oneOf("exponential", "linear", "fixed"),
  baseMs: MS,
  maxMs: MS,
  jitter: [(value) => typeof value === "number" && value >= 0 && value <= 1, "a number from 0 to 1"],
};

// A job lives by its operation's policy: one that lacks a member would make jobs that can neither end nor be tried again.
function checkOperation(operation: Operation): void {
  if (!isObject(operation)) throw new TypeError("An operation must be what `defineOperation` gives.");
  checkPlace(operation.name, operation.path);
  checkMembers(operation, OPERATION, "", operation.name);
  checkMembers(operation.policy, POLICY, "policy.", operation.name);
  checkMembers(operation.policy.backoff, BACKOFF, "policy.backoff.", operation.name);
}

function checkMembers<T>(value: T, rules: Rules<Partial<T>>, at: string, operation: string): void {
  for (const [name, [holds, is]] of Object.entries(rules) as [keyof T & string, Rule][]) {
    if (holds(value[name])) continue;
    throw new TypeError(
      `The operation "${operation}" is not what \`defineOperation\` gives: its ${at}${name} must be ${is}.`,
    );
  }
}

function whole(least: number, most: number, is = `a whole number from ${least} to ${most}`): Rule {
  return [(value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most, is];
}

function oneOf(...words: readonly string[]): Rule {
  return [(value) => words.includes(value as string), words.map((word) => `"${word}"`).join(" or ")];
}

function orNull([holds, is]: Rule): Rule {
  return [(value) => value === null || holds(value), `${is}, or null`];
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

function isFilePolicy(value: unknown): boolean {
  if (value === null) return true;
  const { types, maxBytes, required } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return (
    Array.isArray(types) &&
    types.every((type) => typeof type === "string") &&
    Number.isInteger(maxBytes) &&
    typeof required === "boolean"
  );
}
