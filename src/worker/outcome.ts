// From what a handler gave back or threw to the outcome of its attempt.

import { Failure, type InterruptionCause, type StoredFile } from "../core/handler.ts";
import type { AttemptOutcome } from "../core/machine.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import type { Checked, Checker } from "../core/schema.ts";

/** Results are kept with the job and sent whole; what is larger is a file. */
export const MAX_JSON_BYTES = 1024 * 1024;

/** As deep as a request may be: what is deeper breaks the JSON of other languages, and at 5,000 our own. */
export const MAX_JSON_DEPTH = 64;

const MAX_DETAIL = 2000;
const MAX_EXTENSIONS = 64 * 1024;

/** JSON that was written, and measured, in another thread or process. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A value that can't be kept as JSON. The message says why, for people. */
export class UnfitJson extends TypeError {
  override readonly name = "UnfitJson";
}

/** The thread or process that ran the handler is gone. */
export class Crashed extends Error {
  override readonly name = "Crashed";
}

/** The JSON text of a value. Throws `UnfitJson` where it has none, or is larger or deeper than may be kept. */
export function writeJson(value: unknown, what: string): string {
  let text: string | undefined;
  try {
    text = value instanceof JsonText ? value.text : JSON.stringify(value);
  } catch (error) {
    throw new UnfitJson(`${what} can't be written as JSON: ${messageOf(error)}`);
  }
  if (text === undefined) throw new UnfitJson(`${what} can't be written as JSON: it is a ${typeof value}.`);
  if (text.length * 3 > MAX_JSON_BYTES && byteLength(text) > MAX_JSON_BYTES) {
    throw new UnfitJson(
      `${what} is larger than ${MAX_JSON_BYTES} bytes of JSON. Save it as a file with attempt.save, and return that.`,
    );
  }
  if (text.length > 2 * MAX_JSON_DEPTH && isDeep(text)) {
    throw new UnfitJson(`${what} nests arrays and objects deeper than ${MAX_JSON_DEPTH} levels.`);
  }
  return text;
}

/** The outcome of a handler that gave back `value` and saved these files, by name. */
export function outcomeOfResult(
  value: unknown,
  saved: ReadonlyMap<string, StoredFile> | null,
  checker: Checker | null,
): AttemptOutcome | Promise<AttemptOutcome> {
  const files = saved === null || saved.size === 0 ? NO_FILES : [...saved.values()];
  const file = fileOf(value, files);
  if (file !== null) return { kind: "completed", result: { file: file.name }, files };
  let json: string;
  try {
    json = value === undefined ? "null" : writeJson(value, "The handler's result");
  } catch (error) {
    return invalid(messageOf(error));
  }
  const completed: AttemptOutcome = { kind: "completed", result: { json }, files };
  if (checker === null) return completed;
  // What is checked is what callers will get, not what it was before JSON dropped from it what JSON drops.
  const checked = checker.check(JSON.parse(json));
  const judge = (found: Checked) =>
    "errors" in found
      ? invalid("The handler's result does not match the operation's output schema.", {
          errors: found.errors,
        })
      : completed;
  return checked instanceof Promise ? checked.then(judge) : judge(checked);
}

/** The outcome of a handler that threw, or was given up; null where the attempt is no longer ours to settle. */
export function outcomeOfError(error: unknown, cause: InterruptionCause | null): AttemptOutcome | null {
  if (cause === "lease-lost") return null;
  if (cause === "canceled") return { kind: "canceled" };
  if (isFailure(error)) return { kind: "failed", problem: problemOfFailure(error), final: true };
  if (cause === "time-up") return { kind: "failed", problem: problem("timed-out"), final: false };
  if (cause === "shutting-down") return { kind: "released" };
  if (error instanceof Crashed) return { kind: "crashed", detail: error.message };
  if (error instanceof UnfitResult) return invalid(error.message);
  return { kind: "failed", problem: problem("attempt-failed", messageOf(error)), final: false };
}

/** Thrown in place of a result that another thread could not write as JSON. */
export class UnfitResult extends Error {
  override readonly name = "UnfitResult";
}

/** By its shape, because a handler may have loaded another copy of this package. */
export function isFailure(error: unknown): error is Failure {
  if (error instanceof Failure) return true;
  const { name, status, type } = (error ?? {}) as Partial<Failure>;
  return (
    error instanceof Error && name === "Failure" && typeof status === "number" && typeof type === "string"
  );
}

/** What an error says, for people: at most 2,000 characters, and never a stack. */
export function messageOf(error: unknown): string {
  let message: string;
  try {
    message = error instanceof Error ? error.message : String(error);
  } catch {
    message = "";
  }
  if (message === "") message = "The handler failed without saying why.";
  return message.length <= MAX_DETAIL ? message : `${message.slice(0, MAX_DETAIL)}…`;
}

const NO_FILES: readonly StoredFile[] = [];

// A saved file that is given back is the result; so is the only one where nothing was given back.
function fileOf(value: unknown, files: readonly StoredFile[]): StoredFile | null {
  if (files.length === 0) return null;
  if (value === undefined) return files.length === 1 ? (files[0] as StoredFile) : null;
  if (typeof value !== "object" || value === null) return null;
  const { blob } = value as Partial<StoredFile>;
  return typeof blob === "string" ? (files.find((file) => file.blob === blob) ?? null) : null;
}

function invalid(detail: string, extensions?: Readonly<Record<string, unknown>>): AttemptOutcome {
  return { kind: "failed", problem: problem("invalid-result", detail, extensions), final: true };
}

function problemOfFailure(failure: Failure): ProblemDocument {
  const { status, type } = failure;
  return {
    ...extensionsOf(failure),
    ...problem("attempt-failed", messageOf(failure)),
    type: type.slice(0, 255),
    status: Number.isInteger(status) && status >= 400 && status <= 599 ? status : 500,
  };
}

// They are kept as JSON like everything else; what can't be is left out rather than losing the failure itself.
function extensionsOf({ extensions }: Failure): Readonly<Record<string, unknown>> {
  try {
    const text = writeJson(extensions ?? {}, "extensions");
    const copy: unknown = text.length <= MAX_EXTENSIONS ? JSON.parse(text) : null;
    return typeof copy === "object" && copy !== null && !Array.isArray(copy)
      ? (copy as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}

const UTF8 = new TextEncoder();

function byteLength(text: string): number {
  return text.length > MAX_JSON_BYTES ? text.length : UTF8.encode(text).length;
}

function isDeep(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (quoted) {
      if (code === BACKSLASH) at++;
      else if (code === QUOTE) quoted = false;
    } else if (code === QUOTE) quoted = true;
    else if (code === OPEN_ARRAY || code === OPEN_OBJECT) {
      if (++depth > MAX_JSON_DEPTH) return true;
    } else if (code === CLOSE_ARRAY || code === CLOSE_OBJECT) depth--;
  }
  return false;
}

const [QUOTE, BACKSLASH, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [34, 92, 91, 93, 123, 125];
