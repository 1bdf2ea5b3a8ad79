// What a submit brings: its body made into the input of a job, checked, with the fingerprint of what was sent.

import { hash } from "node:crypto";
import type { StoredFile } from "../core/handler.ts";
import type { ReadyOperation } from "../core/operations.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import type { Violation } from "../core/schema.ts";
import { parseJson } from "../protocol/json.ts";

/** A body that was taken in. */
export interface Intake {
  /** JSON text. */
  readonly input: string;
  readonly upload: StoredFile | null;
  /** The id that the upload was stored under. */
  readonly id: string | null;
  readonly fingerprint: string;
}

/** Or why it was not; `closed` where nobody is left to be told. */
export type TakenIn = Intake | { readonly refused: ProblemDocument } | { readonly closed: true };

/** Takes in a JSON body. */
export function takeJson(
  ready: ReadyOperation,
  bytes: Uint8Array,
  source: string,
  maxDepth: number,
): TakenIn | Promise<TakenIn> {
  const parsed = parseJson(bytes, { maxDepth });
  if (!parsed.ok) return { refused: problem("invalid-json", parsed.detail) };
  if (parsed.inexact !== null) return refuseInexact(parsed.inexact);
  const fingerprint = fingerprintOf(source, parsed.text);
  if (ready.operation.file?.required === true) return refuseInput([{ detail: "needs a file", pointer: "" }]);
  const errors = checkInput(ready, parsed.value, "");
  if (errors instanceof Promise) {
    return errors.then((found) => found ?? taken(ready, parsed.value, parsed.text, fingerprint));
  }
  return errors ?? taken(ready, parsed.value, parsed.text, fingerprint);
}

/** Takes in a request without any body. */
export function takeNothing(ready: ReadyOperation, source: string): TakenIn {
  if (ready.operation.file?.required === true) return refuseInput([{ detail: "needs a file", pointer: "" }]);
  return { input: "null", upload: null, id: null, fingerprint: fingerprintOf(source, "") };
}

function taken(ready: ReadyOperation, value: unknown, text: string, fingerprint: string): Intake {
  return { input: inputText(ready, value, text), upload: null, id: null, fingerprint };
}

/** The JSON text that the job keeps. The handler gets what the schema makes of it. */
export function inputText({ operation, input }: ReadyOperation, value: unknown, text?: string): string {
  if (input === null) return "null";
  // Where equal content is the same job, equal must not depend on spaces and order.
  if (operation.dedupe === "content") return JSON.stringify(sorted(value));
  return text ?? JSON.stringify(value);
}

/** What is wrong with the input; null where nothing is. `prefix` is where it stands in the body. */
export function checkInput(
  ready: ReadyOperation,
  value: unknown,
  prefix: string,
): { readonly refused: ProblemDocument } | null | Promise<{ readonly refused: ProblemDocument } | null> {
  if (ready.input === null) {
    const empty = value === null || (typeof value === "object" && Object.keys(value).length === 0);
    return empty ? null : refuseInput([{ detail: "this operation takes no input", pointer: prefix }]);
  }
  const checked = ready.input.check(value);
  const judge = (outcome: Awaited<typeof checked>) =>
    "errors" in outcome
      ? refuseInput(outcome.errors.map(({ detail, pointer }) => ({ detail, pointer: prefix + pointer })))
      : null;
  return checked instanceof Promise ? checked.then(judge) : judge(checked);
}

export function refuseInput(errors: readonly Violation[]): { readonly refused: ProblemDocument } {
  return { refused: problem("invalid-input", undefined, { errors }) };
}

export function refuseInexact(pointer: string): { readonly refused: ProblemDocument } {
  return refuseInput([{ detail: "is a number that can't be kept exactly; send it as a string", pointer }]);
}

/**
 * 128 bits of SHA-256 over what was sent. `source` is method, route and media type.
 */
export function fingerprintOf(source: string, content: string): string {
  return hash("sha256", `${source}\n${content}`, "hex").slice(0, 32);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
