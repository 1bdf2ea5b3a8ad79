// A job as columns and JSON: columns for what statements ask for, JSON text for all the rest, so that another field of a job is no
// migration, and a server of the version before carries what it does not know no further than it must.

import type { Event } from "../../core/event.ts";
import type { StoredFile } from "../../core/handler.ts";
import { isSettled, type Job, type Policy, type Result, STATUSES, type Status } from "../../core/job.ts";
import { isDue } from "../../core/machine.ts";
import type { ProblemDocument } from "../../core/problem.ts";
import type { StoredJob } from "../store.ts";
import { decodeDigest, decodeName } from "./sql.ts";

/** Where a queued job stands. */
export const STAND = { nowhere: 0, suspects: 1, line: 2, parked: 3, due: 4 } as const;

/** How long a job's tombstone says 410. */
export const TOMBSTONE_MS = 30 * 24 * 3600 * 1000;

/** What of a request is its own; emptied when the job expires. */
interface Given {
  readonly id: string;
  readonly startBy?: number;
  readonly input?: string;
  readonly upload?: StoredFile;
  readonly trace?: string;
}

interface State {
  readonly failures?: number;
  readonly crashes?: number;
  readonly startedAt?: number;
  readonly updatedAt: number;
  readonly finishedAt?: number;
  readonly expiresAt?: number;
  readonly goneAt?: number;
  readonly cancelRequestedAt?: number;
  readonly worker?: string;
  readonly progress?: number;
  readonly message?: string;
  readonly checkpoint?: string;
  readonly result?: Result;
  readonly files?: readonly StoredFile[];
  readonly problem?: ProblemDocument;
}

/** A row of `request` and `job` as it is read (SIGHT). */
export interface Columns {
  readonly row: number;
  readonly address: string;
  readonly owner: string;
  readonly operation: string;
  readonly created_at: number;
  readonly policy: number;
  readonly key: string | null;
  readonly fingerprint: string | null;
  readonly reach: number | null;
  readonly id_fingerprint: string | null;
  readonly given: string;
  readonly turn: number;
  readonly status: number;
  readonly stand: number;
  readonly attempt: number;
  readonly revision: number;
  readonly due_at: number;
  readonly lease_until: number | null;
  readonly state: string;
}

export const SIGHT = `r.row, r.address, r.owner, r.operation, r.created_at, r.policy, r.key, r.fingerprint, r.reach,
  r.id_fingerprint, r.given, j.turn, j.status, j.stand, j.attempt, j.revision, j.due_at, j.lease_until, j.state`;

export function encodeGiven({ id, startBy, input, upload, trace }: Job): string {
  const given: Record<string, unknown> = { id };
  if (startBy !== null) given.startBy = startBy;
  if (input !== "null") given.input = input;
  if (upload !== null) given.upload = upload;
  if (trace !== null) given.trace = trace;
  return JSON.stringify(given);
}

export function encodeState(job: Job): string {
  const state: Record<string, unknown> = { updatedAt: job.updatedAt };
  if (job.failures > 0) state.failures = job.failures;
  if (job.crashes > 0) state.crashes = job.crashes;
  if (job.startedAt !== null) state.startedAt = job.startedAt;
  if (job.finishedAt !== null) state.finishedAt = job.finishedAt;
  if (job.expiresAt !== null) state.expiresAt = job.expiresAt;
  if (job.goneAt !== null) state.goneAt = job.goneAt;
  if (job.cancelRequestedAt !== null) state.cancelRequestedAt = job.cancelRequestedAt;
  if (job.worker !== null) state.worker = job.worker;
  if (job.progress !== null) state.progress = job.progress;
  if (job.message !== null) state.message = job.message;
  if (job.checkpoint !== null) state.checkpoint = job.checkpoint;
  if (job.result !== null) state.result = job.result;
  if (job.files.length > 0) state.files = job.files;
  if (job.problem !== null) state.problem = job.problem;
  return JSON.stringify(state);
}

export function decodeJob(c: Columns, policy: Policy): Job {
  const given = JSON.parse(c.given) as Given;
  const state = JSON.parse(c.state) as State;
  return {
    row: c.row,
    id: given.id,
    owner: decodeName(c.owner),
    operation: decodeName(c.operation),
    policy,
    input: given.input ?? "null",
    upload: given.upload ?? null,
    trace: given.trace ?? null,
    status: nameOf(c.status),
    revision: c.revision,
    attempt: c.attempt,
    failures: state.failures ?? 0,
    crashes: state.crashes ?? 0,
    turn: c.turn,
    createdAt: c.created_at,
    dueAt: c.due_at,
    startBy: given.startBy ?? null,
    startedAt: state.startedAt ?? null,
    updatedAt: state.updatedAt,
    finishedAt: state.finishedAt ?? null,
    expiresAt: state.expiresAt ?? null,
    goneAt: state.goneAt ?? null,
    cancelRequestedAt: state.cancelRequestedAt ?? null,
    worker: state.worker ?? null,
    leaseUntil: c.lease_until,
    progress: state.progress ?? null,
    message: state.message ?? null,
    checkpoint: state.checkpoint ?? null,
    result: state.result ?? null,
    files: state.files ?? NO_FILES,
    problem: state.problem ?? null,
  };
}

export function decodeStored(c: Columns, policy: Policy): StoredJob {
  const digest = (uuid: string | null) => (uuid === null ? null : decodeDigest(uuid));
  return {
    job: decodeJob(c, policy),
    address: decodeDigest(c.address),
    key: digest(c.key),
    fingerprint: digest(c.fingerprint),
    reach: c.reach === null ? null : c.reach === 1 ? "live" : "life",
    idFingerprint: digest(c.id_fingerprint),
  };
}

const NO_FILES: readonly StoredFile[] = [];

function nameOf(status: number): Status {
  return STATUSES[status] ?? "queued";
}

export function statusOf(job: Job): number {
  return STATUSES.indexOf(job.status);
}

/** Whether it is tried again one at a time: it lost a worker that others shared. */
export function isSuspect(job: Job): boolean {
  return job.crashes > 0 && !job.policy.isolated;
}

/** Where a job stands that nobody parked. */
export function standOf(job: Job, now: number): number {
  if (job.status !== "queued") return STAND.nowhere;
  if (!isDue(job, now)) return STAND.due;
  return isSuspect(job) ? STAND.suspects : STAND.line;
}

/**
 * When the sweep has to look at a row: a start deadline, the end of a lease, of an attempt's time or of its grace after a cancel, the
 * end of a retention or of a tombstone.
 */
export function lookAt(job: Job): number | null {
  if (job.goneAt !== null) return job.goneAt + TOMBSTONE_MS;
  if (isSettled(job.status)) return job.expiresAt;
  if (job.status === "queued") return job.attempt === 0 ? job.startBy : null;
  const { timeoutMs, graceMs } = job.policy;
  const overrunAt = (job.startedAt ?? job.updatedAt) + timeoutMs + graceMs;
  const graceAt = job.cancelRequestedAt === null ? overrunAt : job.cancelRequestedAt + graceMs;
  return Math.min(job.leaseUntil ?? overrunAt, overrunAt, graceAt);
}

/** Events of one commit as text: their sequence is that of the entry's last one, counted back. */
export function encodeEvents(events: readonly Omit<Event, "seq">[]): string {
  const names = new Map<string, number>();
  const numberOf = (name: string): number => {
    const known = names.get(name);
    if (known !== undefined) return known;
    names.set(name, names.size);
    return names.size - 1;
  };
  const all = events.map((e): Entry => {
    const [owner, operation] = [numberOf(e.owner), numberOf(e.operation)];
    return [e.kind, e.at, e.row, e.id, owner, operation, STATUSES.indexOf(e.status), e.attempt, e.revision];
  });
  return JSON.stringify([[...names.keys()], ...all]);
}

/** Owner and operation are places in the list of names that stands before the events. */
type Entry = [Event["kind"], number, number, string, number, number, number, number, number];

export function decodeEvents(last: number, entries: string): Event[] {
  const [names, ...all] = JSON.parse(entries) as [string[], ...Entry[]];
  const first = last - all.length + 1;
  return all.map(([kind, at, row, id, owner, operation, status, attempt, revision], index) => ({
    ...{
      seq: first + index,
      kind,
      at,
      row,
      id,
      owner: names[owner] ?? "",
      operation: names[operation] ?? "",
    },
    ...{ status: nameOf(status), attempt, revision },
  }));
}
