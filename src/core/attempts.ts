// The worker's role: what a worker may do with attempts. The ledger offers it in process, a client offers it over HTTP.

import type { Job, Status } from "./job.ts";
import type { AttemptOutcome } from "./machine.ts";

/** Addresses one attempt; the number is the fence: a later attempt makes every word of this one void. */
export interface AttemptRef {
  readonly row: number;
  readonly attempt: number;
}

export interface ClaimRequest {
  /** Who claims: unique among the living, for people to read. */
  readonly worker: string;
  /** How many attempts of each operation it can take now. */
  readonly slots: Readonly<Record<string, number>>;
  /** Most attempts in all. */
  readonly limit: number;
  /** Attempts it runs already that would be lost together: those without a thread or process of their own. */
  readonly running: number;
  /** How many of them had lost a worker before. Default 0. */
  readonly suspects?: number;
  /** Without work, how long to wait for some. Default 0: it is answered at once. */
  readonly waitMs?: number;
  /** True where the worker lives in the ledger's own process: its leases are renewed for it. */
  readonly held: boolean;
}

export interface Claimed {
  /** Each `processing`, its `attempt` the number to use. */
  readonly jobs: readonly Job[];
  /** Take no more for a while: the last try of a job that lost its worker is due or has begun, and should be alone. */
  readonly drain: boolean;
  /** When a job that waits for its time comes due, ms; null: none does. */
  readonly nextAt: number | null;
}

export interface Beat {
  readonly progress?: number | null;
  readonly message?: string | null;
  /** JSON text. */
  readonly checkpoint?: string;
}

/** The attempt is no longer this worker's; nothing was changed. */
export interface LeaseLost {
  readonly refused: "lease-lost";
}

export interface Attempts {
  /** Answers as soon as there is work, and with nothing after `waitMs`. A worker has one claim at a time. */
  claim(request: ClaimRequest): Promise<Claimed>;
  /** Has the worker's claim that waits answered now, with nothing. */
  withdraw(worker: string): Promise<void>;
  /** Reports progress, stores a checkpoint, and renews the lease; durable when it resolves. */
  heartbeat(
    ref: AttemptRef,
    beat: Beat,
  ): Promise<{ readonly leaseUntil: number; readonly cancel: boolean } | LeaseLost>;
  /** Ends the attempt, once. `status` is the job's after it. */
  settle(ref: AttemptRef, outcome: AttemptOutcome): Promise<{ readonly status: Status } | LeaseLost>;
  /** Tells of attempts that were asked to stop or that are no longer theirs. Returns a function that ends it. */
  onStop(listener: (ref: AttemptRef, why: "canceled" | "lease-lost") => void): () => void;
}
