// A job: one accepted request, the resource at `/jobs/{id}` until it expires. Instants are ms since 1970, UTC.

import type { StoredFile } from "./handler.ts";
import type { ProblemDocument } from "./problem.ts";
import type { Backoff } from "./retry.ts";

/** Five statuses, five only: who may act next. Everything else is a field. */
export type Status = "queued" | "processing" | "completed" | "failed" | "canceled";

export const STATUSES: readonly Status[] = ["queued", "processing", "completed", "failed", "canceled"];

/** The rules a job lives by. They are its own from its acceptance on, so a later definition changes no old job. */
export interface Policy {
  /** Most attempts that may fail. */
  readonly maxAttempts: number;
  readonly backoff: Backoff;
  /** The longest one attempt may run. */
  readonly timeoutMs: number;
  readonly leaseMs: number;
  /** How long a handler may go on after a cancel. */
  readonly graceMs: number;
  readonly retentionMs: number;
  /** Higher starts first. */
  readonly priority: number;
  /** The owner's share among the waiting owners of an operation. */
  readonly weight: number;
  /** Most jobs of the owner that run at once, over all operations; null for no limit. */
  readonly running: number | null;
  /** Each attempt has a thread or process of its own, so a crash takes no neighbour with it. */
  readonly isolated: boolean;
}

/** What a completed job gives: JSON text, or one of its files (`file` is its name). */
export type Result = { readonly json: string } | { readonly file: string };

export interface Job {
  /** Order of arrival in its store, from 1; also the job's row. */
  readonly row: number;
  /** Public, unguessable, and no authorisation. */
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  readonly policy: Policy;
  /** The request's JSON text, as validated; "null" where the operation takes none. */
  readonly input: string;
  readonly upload: StoredFile | null;
  /** `traceparent` of the request that submitted it, and `tracestate` after a space. */
  readonly trace: string | null;

  readonly status: Status;
  /** Rises with every change that can be seen, which a renewed lease and a checkpoint are not; the ETag. */
  readonly revision: number;
  /** The number of the last attempt, 0 before the first. It is the fence. */
  readonly attempt: number;
  /** Attempts that failed by the handler's own doing, time-outs included. */
  readonly failures: number;
  /** Attempts whose worker was lost. */
  readonly crashes: number;
  /** Virtual time of its turn in the line of its operation; lower starts first. */
  readonly turn: number;

  readonly createdAt: number;
  /** When the next attempt may begin. */
  readonly dueAt: number;
  /** The job fails if no attempt has begun by then. */
  readonly startBy: number | null;
  /** When the current or last attempt began. */
  readonly startedAt: number | null;
  readonly updatedAt: number;
  readonly finishedAt: number | null;
  /** When the outcome is forgotten; null until settled. */
  readonly expiresAt: number | null;
  /** When it expired: from then on it is a tombstone, emptied of all that it held. */
  readonly goneAt: number | null;
  readonly cancelRequestedAt: number | null;

  /** Who holds the current attempt, and until when. */
  readonly worker: string | null;
  readonly leaseUntil: number | null;

  /** 0 to 100. */
  readonly progress: number | null;
  readonly message: string | null;
  /** JSON text of the last checkpoint. */
  readonly checkpoint: string | null;

  readonly result: Result | null;
  /** The files of the attempt that completed it. */
  readonly files: readonly StoredFile[];
  /** Why it failed; in a queued job, why the last attempt did. */
  readonly problem: ProblemDocument | null;
}

/** Whether a status is an end. */
export function isSettled(status: Status): status is "completed" | "failed" | "canceled" {
  return status === "completed" || status === "failed" || status === "canceled";
}
