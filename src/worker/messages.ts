// What a worker and a thread or process of it say to each other: structured clones, one attempt at a time.

import { Failure, Interruption, type InterruptionCause, type StoredFile } from "../core/handler.ts";
import { isFailure, messageOf, UnfitResult, writeJson } from "./outcome.ts";

/** The attempt as it is sent over. */
export interface Facts {
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  readonly number: number;
  readonly idempotencyKey: string;
  /** JSON text. */
  readonly checkpoint: string | null;
  readonly upload: StoredFile | null;
}

/** What only the worker's own thread can do. */
export type Call =
  | { readonly what: "checkpoint"; readonly json: string }
  | { readonly what: "scratch" }
  | { readonly what: "save"; readonly name: string; readonly path: string; readonly type: string }
  | { readonly what: "path" };

/** An error that crosses: an `Interruption` and a `Failure` arrive as what they were. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly interruption?: InterruptionCause;
  readonly failure?: {
    readonly status: number;
    readonly type: string /** JSON text. */;
    readonly extensions: string;
  };
}

/** `run` numbers what a thread or process is given to do, so that what an earlier run says late is not taken for this one's. */
export type ToInside =
  | {
      readonly do: "run";
      readonly run: number;
      readonly module: string;
      readonly input: unknown;
      readonly facts: Facts;
    }
  | { readonly do: "interrupt"; readonly run: number; readonly cause: InterruptionCause }
  | { readonly do: "answer"; readonly run: number; readonly call: number; readonly value: unknown }
  | { readonly do: "refuse"; readonly run: number; readonly call: number; readonly error: SentError };

export type FromInside =
  | { readonly did: "call"; readonly run: number; readonly call: number; readonly args: Call }
  | {
      readonly did: "progress";
      readonly run: number;
      readonly percent: number | null;
      readonly message?: string;
    }
  | {
      readonly did: "log";
      readonly run: number;
      readonly level: "info" | "warn" | "error";
      readonly message: string;
      /** JSON text. */
      readonly fields: string | null;
    }
  /** JSON text, the `blob` of a file that was saved, or nothing. */
  | { readonly did: "return"; readonly run: number; readonly json?: string; readonly blob?: string }
  | { readonly did: "throw"; readonly run: number; readonly error: SentError };

/** An error as it is sent. */
export function sendable(error: unknown): SentError {
  const { name, code, reason } = (error ?? {}) as Partial<Interruption> & { readonly code?: unknown };
  return {
    name: String(name ?? "Error"),
    message: messageOf(error),
    ...(typeof code === "string" ? { code } : {}),
    ...(error instanceof Interruption && reason !== undefined ? { interruption: reason } : {}),
    ...(isFailure(error)
      ? { failure: { status: error.status, type: error.type, extensions: textOf(error.extensions) } }
      : {}),
  };
}

/** An error as it arrived. */
export function errorOf({ name, message, code, interruption, failure }: SentError): Error {
  if (interruption !== undefined) return new Interruption(interruption);
  if (failure !== undefined) {
    const extensions = JSON.parse(failure.extensions) as Record<string, unknown>;
    return new Failure(message, { status: Number(failure.status), type: String(failure.type), extensions });
  }
  if (name === "UnfitResult") return new UnfitResult(message);
  return Object.assign(new Error(message), { name }, code === undefined ? {} : { code });
}

function textOf(extensions: unknown): string {
  try {
    return writeJson(extensions, "extensions");
  } catch {
    return "{}";
  }
}
