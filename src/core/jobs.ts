// The caller's role: what a caller may do with jobs. The ledger offers it in process, a client offers it over HTTP.

import type { StoredFile } from "./handler.ts";
import type { Job, Status } from "./job.ts";
import type { ProblemDocument } from "./problem.ts";

/** What an owner of a tier may do. `null` is no limit. */
export interface Tier {
  readonly name: string;
  /** Added to the operation's priority; callers may ask for less, never for more. */
  readonly priority: number;
  /** Share among the waiting owners of an operation. */
  readonly weight: number;
  /** Most queued and processing jobs. */
  readonly active: number | null;
  /** Most jobs that run at once. */
  readonly running: number | null;
  /** Submissions per window. */
  readonly rate: { readonly quota: number; readonly windowSeconds: number } | null;
}

/** Who asks, as access found out. */
export interface Caller {
  readonly owner: string;
  readonly tier: Tier;
}

/** An accepted request on its way in: shape and schema were checked before. */
export interface SubmitRequest {
  readonly operation: string;
  /** JSON text. */
  readonly input: string;
  readonly upload: StoredFile | null;
  /** The id that a caller made itself, or that a file was already stored under; else one is made. */
  readonly id: string | null;
  /** Whether the caller made the id (PUT): then it is what makes a repeat the same job. */
  readonly idFromCaller: boolean;
  /** The Idempotency-Key; it has no part where the caller made the id. */
  readonly key: string | null;
  /** 128 bits of SHA-256, lower-case hex, over method, route, media type and raw body. */
  readonly fingerprint: string;
  readonly delayMs: number;
  /** `Coatcheck-Deadline`; null for the operation's own. */
  readonly startWithinMs: number | null;
  /** Within the caller's tier: at most 0 is added to it. */
  readonly priority: number;
  readonly trace: string | null;
}

/** When it will be over, as far as can be known. */
export interface Estimate {
  /** The median; null once settled. */
  readonly completionAt: number | null;
  /** When to come back: whole seconds, at least 1; null once settled. */
  readonly retryAfterSeconds: number | null;
}

/** A job as its owner sees it. */
export interface View extends Estimate {
  readonly job: Job;
  /** From 1, exact; null where it does not stand in line. */
  readonly position: number | null;
  readonly waitingFor: "turn" | "quota" | "retry" | "delay" | "no-worker" | "paused" | null;
}

/** What is left of a rate. */
export interface RateState {
  readonly name: string;
  readonly quota: number;
  readonly windowSeconds: number;
  readonly remaining: number;
  readonly resetSeconds: number;
}

/** A refusal: expected, and a value. */
export interface Refused {
  readonly refused: ProblemDocument;
  readonly retryAfterSeconds: number | null;
  readonly rate: RateState | null;
  /** The job that the refusal is about, as it stands. */
  readonly view?: View;
}

export interface Accepted {
  readonly view: View;
  readonly replayed: boolean;
  readonly rate: RateState | null;
}

/** What a dry run tells. */
export interface Preview {
  /** The id of the job that the submission repeats; null where it would be a new one. */
  readonly repeats: string | null;
  /** Of the new job, or of the one that is there: null where that stands in no line. */
  readonly position: number | null;
  /** Null where it is a repeat of what has ended. */
  readonly completionAt: number | null;
  /** `cost`: how many more would count as active. */
  readonly quota: { readonly active: number; readonly limit: number | null; readonly cost: 0 | 1 };
  readonly rate: RateState | null;
}

export interface JobFilter {
  readonly status?: readonly Status[];
  readonly operation?: readonly string[];
  /** Inclusive, ms. */
  readonly createdFrom?: number;
  /** Exclusive, ms. */
  readonly createdTo?: number;
  /** Goes on where a page ended. */
  readonly after?: number;
  /** 1 to 200. */
  readonly limit: number;
}

export interface JobPage {
  readonly views: readonly View[];
  /** `after` of the next page; null at the end. */
  readonly next: number | null;
}

/**
 * What a caller may do. Another owner's job is as unknown as one that never was: null.
 * A job whose `goneAt` is set has expired: only that is left of it.
 * Every method rejects with `StoreUnavailable` where the store can't answer: 503.
 */
export interface Jobs {
  submit(caller: Caller, request: SubmitRequest): Promise<Accepted | Refused>;
  /** Judges a submission without accepting it. It counts to the rate as the submission would. */
  preview(caller: Caller, request: SubmitRequest): Promise<Preview | Refused>;
  get(caller: Caller, id: string): Promise<View | null>;
  /** The job once it settles, or as it stands after `waitMs` or when the signal fires. */
  wait(caller: Caller, id: string, waitMs: number, signal: AbortSignal): Promise<View | null>;
  list(caller: Caller, filter: JobFilter): Promise<JobPage>;
  cancel(caller: Caller, id: string): Promise<View | Refused | null>;
  /** A new unguessable id: 128 random bits. */
  createId(): string;
  /** Where the files of a job lie (its folder in the blob store): 128 bits, hex. */
  address(owner: string, id: string): string;
}
