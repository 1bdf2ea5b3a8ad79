// The port: where jobs are kept. A store takes batches of data, never closures, so that one port serves a thread,
// a socket or a server, and group commit is simply a larger batch.

import type { Durations } from "../core/durations.ts";
import type { Event } from "../core/event.ts";
import type { Job, Status } from "../core/job.ts";
import type { AttemptOutcome, Refusal, Submission } from "../core/machine.ts";

/** What survives: a kill -9, a power cut of the store's disk, or the loss of any one storage node. */
export type Durability = "process" | "power" | "quorum";

/** A digest: 32 lower-case hex characters (the first 128 bits of a SHA-256). */
export type Digest = string;

/** What makes two submissions the same. */
export interface Sameness {
  /** Digest of (owner, operation, key), or of the content. */
  readonly key: Digest;
  /** Digest of what was sent; another one under the same key is refused. Equal to `key` for content. */
  readonly fingerprint: Digest;
  /** `live`: only a job that has not settled counts (content). `life`: until the key's own end. */
  readonly reach: "life" | "live";
}

/** What a store counts inside the transaction that accepts. */
export interface Limits {
  /** Most queued and processing jobs of the owner; null for no limit. */
  readonly active: number | null;
  /** Most waiting jobs of the operation. */
  readonly operationBacklog: number;
  /** Most waiting jobs of the whole store. */
  readonly backlog: number;
}

export interface SubmitWrite {
  readonly do: "submit";
  readonly submission: Submission;
  readonly sameness: Sameness | null;
  /** Digest of (owner, id): how the job is found again. */
  readonly address: Digest;
  /** Digest of what was sent, where the caller made the id (PUT): it makes the repeat the same job. */
  readonly idFingerprint: Digest | null;
  readonly limits: Limits;
  /** Only a repeat is answered; a new one that nothing else refuses is refused as `not-found`. */
  readonly onlyRepeat?: boolean;
}

export interface ClaimWrite {
  readonly do: "claim";
  readonly worker: string;
  /** How many attempts of each operation the worker can take now. */
  readonly slots: Readonly<Record<string, number>>;
  readonly limit: number;
  /** Attempts this worker runs already that would be lost together: those without a thread or process of their own. */
  readonly running: number;
  /** How many of them are suspects (jobs that lost a worker before): a worker runs one at a time. Default 0. */
  readonly suspects?: number;
  /** Without work, how long to wait for some. Default 0: it is answered at once. */
  readonly waitMs?: number;
  /** The worker lives in this process: the store renews the lease by itself, off the handler's thread. */
  readonly held: boolean;
}

/** Answers the worker's claim that waits, if there is one, with nothing. */
export interface WithdrawWrite {
  readonly do: "withdraw";
  readonly worker: string;
}

/** How an attempt is addressed: the number is the fence. */
export interface AttemptRef {
  readonly row: number;
  readonly attempt: number;
}

export interface HeartbeatWrite extends AttemptRef {
  readonly do: "heartbeat";
  readonly progress?: number | null;
  readonly message?: string | null;
  readonly checkpoint?: string;
}

export interface SettleWrite extends AttemptRef {
  readonly do: "settle";
  readonly outcome: AttemptOutcome;
}

export interface CancelWrite {
  readonly do: "cancel";
  readonly address: Digest;
}

/** Reclaims, expires and purges what is due, `limit` of each at most. */
export interface SweepWrite {
  readonly do: "sweep";
  readonly limit: number;
}

/** Keeps what was learned of an operation's durations, merged with what is there. */
export interface LearnWrite {
  readonly do: "learn";
  readonly operation: string;
  readonly durations: Durations;
}

export interface PauseWrite {
  readonly do: "pause";
  readonly operation: string;
  readonly paused: boolean;
}

/** A job with all that it is found by: what a store keeps of it, and what another one takes over. */
export interface StoredJob {
  readonly job: Job;
  /** Digest of (owner, id). */
  readonly address: Digest;
  readonly key: Digest | null;
  readonly fingerprint: Digest | null;
  readonly reach: "life" | "live" | null;
  readonly idFingerprint: Digest | null;
}

/**
 * Takes over what another store kept: the same rows, the same sequences. What was taken over before is left alone, so a
 * move that was interrupted goes on. Refused as `not-empty` where a row or an event is there that is not the same.
 */
export interface RestoreWrite {
  readonly do: "restore";
  /** In the order of their rows, which may have gaps. */
  readonly jobs: readonly StoredJob[];
  /** In the order of their sequence, gapless, the first next to the last that is there (or any, in an empty feed). */
  readonly events: readonly Event[];
  /** With the last part: the store's own facts. */
  readonly facts?: {
    readonly secret: string;
    readonly durations: Readonly<Record<string, Durations>>;
    readonly paused: readonly string[];
    /** What `keep` kept. */
    readonly kept: Readonly<Record<string, string>>;
  };
}

/**
 * Keeps a small text under a name, or forgets it: what the house must remember besides its jobs, such as where webhooks go. Names
 * begin with a word and a slash that say whose they are, such as `endpoint/`.
 */
export interface KeepWrite {
  readonly do: "keep";
  readonly name: string;
  /** Null forgets it. */
  readonly value: string | null;
}

export type Write =
  | SubmitWrite
  | ClaimWrite
  | WithdrawWrite
  | HeartbeatWrite
  | SettleWrite
  | CancelWrite
  | SweepWrite
  | LearnWrite
  | PauseWrite
  | KeepWrite
  | RestoreWrite;

/** Why a queued job waits. */
export type WaitingFor = "turn" | "quota" | "retry" | "delay" | "no-worker" | "paused";

/** A job as it is seen: with its place in the line. */
export interface Sight {
  readonly job: Job;
  /** Its place among those that wait ahead, from 1; null where it does not stand in line. */
  readonly position: number | null;
  readonly waitingFor: WaitingFor | null;
}

export type SubmitRefusal = "key-reused" | "over-quota" | "operation-backlog-full" | "backlog-full";

/** What each write is answered with, in the order of the batch. */
export type Written =
  | (Sight & { readonly did: "submit"; readonly replayed: boolean })
  /** `drain`: the last try of a suspect is due or has begun, which should run alone; take no more for a while. */
  /** `nextAt`: when a job that waits for its time comes due. */
  | {
      readonly did: "claim";
      readonly jobs: readonly Job[];
      readonly drain: boolean;
      readonly nextAt: number | null;
    }
  | { readonly did: "cancel"; readonly job: Job }
  /** A heartbeat or a settle had its effect. */
  | {
      readonly did: "keep";
      readonly status: Status;
      readonly leaseUntil: number | null;
      /** The job was asked to stop. */
      readonly cancel: boolean;
    }
  | {
      readonly did: "sweep";
      readonly changed: number;
      /** Addresses of jobs whose files may be deleted. */
      readonly gone: readonly Digest[];
      /** More was due than `limit` allowed. */
      readonly more: boolean;
    }
  | { readonly did: "nothing" }
  | { readonly refused: Refusal | SubmitRefusal | "not-empty"; readonly job?: Job };

/** What a write of each kind can be answered with. */
export type WrittenOf<W extends Write> =
  | Extract<Written, { refused: unknown }>
  | (W extends SubmitWrite
      ? Extract<Written, { did: "submit" }>
      : W extends ClaimWrite
        ? Extract<Written, { did: "claim" }>
        : W extends SweepWrite
          ? Extract<Written, { did: "sweep" }>
          : W extends LearnWrite | PauseWrite | WithdrawWrite | KeepWrite | RestoreWrite
            ? Extract<Written, { did: "nothing" }>
            : W extends CancelWrite
              ? Extract<Written, { did: "cancel" }>
              : Extract<Written, { did: "keep" }>);

export interface ListFilter {
  readonly owner: string;
  readonly status?: readonly Status[];
  readonly operation?: readonly string[];
  readonly createdFrom?: number;
  readonly createdTo?: number;
  /** Only rows below this one: the page goes on, newest first. */
  readonly belowRow?: number;
  readonly limit: number;
}

export interface Counts {
  readonly operations: Readonly<Record<string, { readonly queued: number; readonly processing: number }>>;
  /** Jobs in the store, tombstones included. */
  readonly jobs: number;
}

export type Query =
  | { readonly get: "job"; readonly address: Digest }
  /** The jobs of an owner, newest first. `nextRow` continues; null at the end. */
  | { readonly get: "list"; readonly filter: ListFilter }
  /** These rows, in this order; those that are there no more are left out. */
  | { readonly get: "rows"; readonly rows: readonly number[] }
  | { readonly get: "counts" }
  /** Where a new job of this owner would stand, and the owner's active jobs. */
  | {
      readonly get: "outlook";
      readonly owner: string;
      readonly operation: string;
      readonly priority: number;
      readonly weight: number;
    }
  | { readonly get: "durations" }
  /** 32 random bytes in hex, made with the store: every key that its servers must agree on is derived from it. */
  | { readonly get: "secret" }
  /** Events after `seq`, oldest first. */
  | { readonly get: "events"; readonly after: number; readonly limit: number }
  /** Which of these addresses have a job that may have files. */
  | { readonly get: "alive"; readonly addresses: readonly Digest[] }
  /** All that is kept of the jobs after this row, tombstones too, in the order of their rows: for another store to take over. */
  | { readonly get: "stored"; readonly afterRow: number; readonly limit: number }
  /** Operations that are held back. */
  | { readonly get: "paused" }
  /** What was kept under names that begin so, in the order of the names (by UTF-16 code units). */
  | { readonly get: "kept"; readonly prefix: string };

export type Answer<Q extends Query> = Q extends { get: "job" }
  ? Sight | null
  : Q extends { get: "rows" }
    ? readonly Sight[]
    : Q extends { get: "list" }
      ? { readonly sights: readonly Sight[]; readonly nextRow: number | null }
      : Q extends { get: "counts" }
        ? Counts
        : Q extends { get: "outlook" }
          ? { readonly position: number; readonly active: number; readonly waiting: number }
          : Q extends { get: "durations" }
            ? Readonly<Record<string, Durations>>
            : Q extends { get: "secret" }
              ? string
              : Q extends { get: "events" }
                ? readonly Event[]
                : Q extends { get: "stored" }
                  ? readonly StoredJob[]
                  : Q extends { get: "paused" }
                    ? readonly string[]
                    : Q extends { get: "kept" }
                      ? Readonly<Record<string, string>>
                      : readonly boolean[];

/** Called with the events of each commit, in order, once it is durable; those of other processes too. */
export type Listener = (events: readonly Event[]) => void;

/** Where jobs are kept. Every store passes the same suite. */
export interface Store {
  /** What survives; start-up fails where the settings do not keep it. */
  readonly durability: Durability;
  /** For people: `sqlite:./data/coatcheck.db`. No secrets. */
  readonly name: string;
  /**
   * Runs every write in one transaction, each through `decide`, and resolves once all of it is durable. Writes given
   * while a transaction is under way go into the next one together.
   * @throws StoreUnavailable when nothing of it was kept, or it can't be known: answer 503.
   */
  write<W extends Write>(write: W): Promise<WrittenOf<W>>;
  read<Q extends Query>(query: Q): Promise<Answer<Q>>;
  /** Reads the feed as it grows; returns a function that ends it. */
  listen(listener: Listener): () => void;
  /** Waits for what is under way, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** The store can't answer now: full, down, read-only, closing. Nothing was accepted, or it can't be known. */
export class StoreUnavailable extends Error {
  override readonly name = "StoreUnavailable";
}

/** The store can't be used at all: corrupt, of a newer version, with unsafe settings. Start-up ends with this. */
export class StoreUnusable extends Error {
  override readonly name = "StoreUnusable";
}
