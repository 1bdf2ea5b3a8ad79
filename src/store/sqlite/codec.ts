// A row as columns: the same flat lists go into a statement, come out of one, and cross to the other thread.
//
// What never changes lies in one table and what changes in another, a short row beside a long one: so a claim and a
// settle write a few dozen bytes each, and not again the request that they are about.

import type { StoredFile } from "../../core/handler.ts";
import type { Job, Policy, Result, Status } from "../../core/job.ts";
import type { ProblemDocument } from "../../core/problem.ts";
import type { Row } from "../embedded/rows.ts";

/** What never changes after the insert but for its end: what came with the request is emptied when the job expires. */
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
  "due_at",
  "start_by",
  "upload",
  "trace",
  "input",
] as const;

/** What changes, in the order of `current`. A job that nothing happened to yet has none of it. */
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

export type Column = string | number | null;

/** Policies are few and jobs many: each is kept once, and named by its number. */
export interface Policies {
  number(policy: Policy): number;
  policy(number: number): Policy;
}

/** Whether a job is as it was accepted: then `given` says all of it. */
export function isFresh(job: Job): boolean {
  return job.revision === 1;
}

export function given(row: Row, policies: Policies): Column[] {
  const { job } = row;
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
    job.dueAt,
    job.startBy,
    job.upload === null ? null : JSON.stringify(job.upload),
    job.trace,
    job.input === "null" ? null : job.input,
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

/** The row of `given`, and of `current` where anything happened to it, from its place `at` on. */
export function rowOf(
  givenColumns: readonly unknown[],
  currentColumns: readonly unknown[] | null,
  at: number,
  policies: Policies,
): Row {
  const g = givenColumns as readonly Column[];
  const c = (currentColumns ?? UNTOUCHED) as readonly Column[];
  const on = currentColumns === null ? 0 : at;
  const isTouched = currentColumns !== null;
  const job: Job = {
    row: g[0] as number,
    id: g[1] as string,
    owner: g[2] as string,
    operation: g[3] as string,
    policy: policies.policy(g[4] as number),
    input: (g[16] as string | null) ?? "null",
    upload: parse<StoredFile | null>(g[14], null),
    trace: g[15] as string | null,
    status: c[on] as Status,
    revision: c[on + 1] as number,
    attempt: c[on + 2] as number,
    failures: c[on + 3] as number,
    crashes: c[on + 4] as number,
    turn: g[10] as number,
    createdAt: g[11] as number,
    dueAt: (isTouched ? c[on + 5] : g[12]) as number,
    startBy: g[13] as number | null,
    startedAt: c[on + 6] as number | null,
    updatedAt: (isTouched ? c[on + 7] : g[11]) as number,
    finishedAt: c[on + 8] as number | null,
    expiresAt: c[on + 9] as number | null,
    goneAt: c[on + 10] as number | null,
    cancelRequestedAt: c[on + 11] as number | null,
    worker: c[on + 12] as string | null,
    leaseUntil: c[on + 13] as number | null,
    progress: c[on + 14] as number | null,
    message: c[on + 15] as string | null,
    checkpoint: c[on + 16] as string | null,
    result: typeof c[on + 17] === "string" ? decodeResult(c[on + 17] as string) : null,
    files: parse<readonly StoredFile[]>(c[on + 18], NO_FILES),
    problem: parse<ProblemDocument | null>(c[on + 19], null),
  };
  return {
    job,
    address: g[5] as string,
    key: g[6] as string | null,
    fingerprint: g[7] as string | null,
    reach: g[8] as Row["reach"],
    idFingerprint: g[9] as string | null,
  };
}

// `current` of a job as it was accepted; its times are those of `given`.
const UNTOUCHED: readonly Column[] = ["queued", 1, 0, 0, 0, ...Array<null>(15).fill(null)];

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
