// A row as columns: the same flat list goes into a statement, comes out of one, and crosses to the other thread.

import type { StoredFile } from "../../core/handler.ts";
import type { Job, Policy, Result, Status } from "../../core/job.ts";
import type { ProblemDocument } from "../../core/problem.ts";
import type { Row } from "../embedded/rows.ts";

/** What never changes after the insert, in the order of `given`. */
export const GIVEN = [
  "row",
  "id",
  "owner",
  "operation",
  "policy",
  "address",
  "key",
  "fingerprint",
  "reach",
  "id_fingerprint",
  "turn",
  "created_at",
  "start_by",
] as const;

/** What changes, in the order of `current`. */
export const CURRENT = [
  "status",
  "revision",
  "attempt",
  "failures",
  "crashes",
  "due_at",
  "started_at",
  "updated_at",
  "finished_at",
  "expires_at",
  "gone_at",
  "cancel_requested_at",
  "worker",
  "lease_until",
  "progress",
  "message",
  "checkpoint",
  "result",
  "files",
  "problem",
] as const;

/** What a job has of it when it is accepted, in the order of `fresh`; the rest is null until something happens. */
export const FRESH = [
  "status",
  "revision",
  "attempt",
  "failures",
  "crashes",
  "due_at",
  "updated_at",
] as const;

/** What came with the request, in the order of `contents`; emptied when the job expires. */
export const CONTENTS = ["input", "upload", "trace"] as const;

export type Column = string | number | null;

/** Policies are few and jobs many: each is kept once, and named by its number. */
export interface Policies {
  number(policy: Policy): number;
  policy(number: number): Policy;
}

export function given({ job, ...row }: Row, policies: Policies): Column[] {
  return [
    job.row,
    job.id,
    job.owner,
    job.operation,
    policies.number(job.policy),
    row.address,
    row.key,
    row.fingerprint,
    row.reach,
    row.idFingerprint,
    job.turn,
    job.createdAt,
    job.startBy,
  ];
}

export function current(job: Job): Column[] {
  return [
    job.status,
    job.revision,
    job.attempt,
    job.failures,
    job.crashes,
    job.dueAt,
    job.startedAt,
    job.updatedAt,
    job.finishedAt,
    job.expiresAt,
    job.goneAt,
    job.cancelRequestedAt,
    job.worker,
    job.leaseUntil,
    job.progress,
    job.message,
    job.checkpoint,
    job.result === null ? null : encodeResult(job.result),
    job.files.length === 0 ? null : JSON.stringify(job.files),
    job.problem === null ? null : JSON.stringify(job.problem),
  ];
}

export function fresh(job: Job): Column[] {
  return [job.status, job.revision, job.attempt, job.failures, job.crashes, job.dueAt, job.updatedAt];
}

export function contents(job: Job): Column[] {
  return [job.input, job.upload === null ? null : JSON.stringify(job.upload), job.trace];
}

/** The row of `[...given, ...current, ...contents]`. */
export function rowOf(columns: readonly unknown[], policies: Policies): Row {
  const c = columns as readonly Column[];
  const at = GIVEN.length;
  const on = at + CURRENT.length;
  const job: Job = {
    row: c[0] as number,
    id: c[1] as string,
    owner: c[2] as string,
    operation: c[3] as string,
    policy: policies.policy(c[4] as number),
    input: (c[on] as string | null) ?? "null",
    upload: parse<StoredFile | null>(c[on + 1], null),
    trace: c[on + 2] as string | null,
    status: c[at] as Status,
    revision: c[at + 1] as number,
    attempt: c[at + 2] as number,
    failures: c[at + 3] as number,
    crashes: c[at + 4] as number,
    turn: c[10] as number,
    createdAt: c[11] as number,
    dueAt: c[at + 5] as number,
    startBy: c[12] as number | null,
    startedAt: c[at + 6] as number | null,
    updatedAt: c[at + 7] as number,
    finishedAt: c[at + 8] as number | null,
    expiresAt: c[at + 9] as number | null,
    goneAt: c[at + 10] as number | null,
    cancelRequestedAt: c[at + 11] as number | null,
    worker: c[at + 12] as string | null,
    leaseUntil: c[at + 13] as number | null,
    progress: c[at + 14] as number | null,
    message: c[at + 15] as string | null,
    checkpoint: c[at + 16] as string | null,
    result: typeof c[at + 17] === "string" ? decodeResult(c[at + 17] as string) : null,
    files: parse<readonly StoredFile[]>(c[at + 18], NO_FILES),
    problem: parse<ProblemDocument | null>(c[at + 19], null),
  };
  return {
    job,
    address: c[5] as string,
    key: c[6] as string | null,
    fingerprint: c[7] as string | null,
    reach: c[8] as Row["reach"],
    idFingerprint: c[9] as string | null,
  };
}

const NO_FILES: readonly StoredFile[] = [];

// JSON results are by far the most: they are kept as they are, a file's name behind a sign that no JSON begins with.
function encodeResult(result: Result): string {
  return "json" in result ? result.json : `@${result.file}`;
}

function decodeResult(text: string): Result {
  return text.startsWith("@") ? { file: text.slice(1) } : { json: text };
}

function parse<T>(text: Column | undefined, none: T): T {
  return typeof text === "string" ? (JSON.parse(text) as T) : none;
}
