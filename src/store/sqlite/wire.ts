// What the two threads say to each other. Flat lists, because cloning an object costs several times its contents:
// a submission is the hottest message there is.

import type { StoredFile } from "../../core/handler.ts";
import { type Job, type Policy, STATUSES, type Status } from "../../core/job.ts";
import type { Query, SettleWrite, SubmitWrite, Write, Written } from "../store.ts";
import { type Column, current, GIVEN, given, type Policies, rowOf } from "./codec.ts";
import type { FlatEvents } from "./entries.ts";

type Flat = (string | number | null)[];

/** Main thread → writer. */
export interface Request {
  readonly writes: readonly (Write | Flat)[];
  readonly reads: readonly Query[];
  /** Policies that earlier messages did not carry. */
  readonly policies: readonly Policy[];
}

/** Writer → main thread, one for each request, in order; and, with `number` 0, what nobody asked for. */
export interface Reply {
  readonly written: readonly unknown[];
  readonly answers: readonly unknown[];
  /** Claims that waited, by their number, with their answer. */
  readonly late: readonly (readonly [number: number, written: unknown])[];
  /** Null for none. */
  readonly events: FlatEvents | null;
  readonly policies: readonly (readonly [number, Policy])[];
  /** The batch was not kept, or it can't be known. */
  readonly unavailable?: string;
  /** Something that must not be is: nothing more is decided. */
  readonly broken?: string;
  /** What the reads failed with, where only they did. */
  readonly unread?: string;
  readonly isAnswer: boolean;
}

/** Numbers the policies that this side sends: each is sent once. */
export class PolicySender {
  readonly #numbers = new WeakMap<Policy, number>();
  readonly #byText = new Map<string, number>();
  #fresh: Policy[] = [];

  number(policy: Policy): number {
    const known = this.#numbers.get(policy);
    if (known !== undefined) return known;
    const text = JSON.stringify(policy);
    let number = this.#byText.get(text);
    if (number === undefined) {
      number = this.#byText.size;
      this.#byText.set(text, number);
      this.#fresh.push(policy);
    }
    this.#numbers.set(policy, number);
    return number;
  }

  take(): readonly Policy[] {
    const fresh = this.#fresh;
    if (fresh.length > 0) this.#fresh = [];
    return fresh;
  }
}

export function flattenWrite(write: Write, policies: PolicySender): Write | Flat {
  if (write.do === "settle") return flattenSettle(write);
  if (write.do !== "submit") return write;
  const { submission: s, sameness, limits } = write;
  return [
    s.id,
    s.owner,
    s.operation,
    policies.number(s.policy),
    s.input,
    s.upload === null ? null : JSON.stringify(s.upload),
    s.trace,
    s.delayMs,
    s.startWithinMs,
    sameness === null ? null : sameness.key,
    sameness === null ? null : sameness.fingerprint,
    sameness === null ? null : sameness.reach,
    write.address,
    write.idFingerprint,
    limits.active,
    limits.operationBacklog,
    limits.backlog,
    write.onlyRepeat === true ? 1 : 0,
  ];
}

export function unflattenWrite(write: Write | Flat, policies: readonly Policy[]): Write {
  if (!Array.isArray(write)) return write as Write;
  const f = write as Flat;
  if (f.length === 3) return unflattenSettle(f);
  return {
    do: "submit",
    submission: {
      id: f[0] as string,
      owner: f[1] as string,
      operation: f[2] as string,
      policy: policies[f[3] as number] as Policy,
      input: f[4] as string,
      upload: f[5] === null ? null : (JSON.parse(f[5] as string) as StoredFile),
      trace: f[6] as string | null,
      delayMs: f[7] as number,
      startWithinMs: f[8] as number | null,
    },
    sameness:
      f[9] === null
        ? null
        : { key: f[9] as string, fingerprint: f[10] as string, reach: f[11] as "life" | "live" },
    address: f[12] as string,
    idFingerprint: f[13] as string | null,
    limits: {
      active: f[14] as number | null,
      operationBacklog: f[15] as number,
      backlog: f[16] as number,
    },
    onlyRepeat: f[17] === 1,
  } satisfies SubmitWrite;
}

// What nearly every attempt ends with: JSON, and no files.
function flattenSettle(write: SettleWrite): SettleWrite | Flat {
  const { row, attempt, outcome } = write;
  if (outcome.kind !== "completed" || outcome.files.length > 0 || !("json" in outcome.result)) return write;
  return [row, attempt, outcome.result.json];
}

function unflattenSettle([row, attempt, json]: Flat): SettleWrite {
  const result = { json: json as string };
  return {
    do: "settle",
    row: row as number,
    attempt: attempt as number,
    outcome: { kind: "completed", result, files: NO_FILES },
  };
}

const NO_FILES: readonly StoredFile[] = [];

/** What the main thread needs to make the accepted job itself: it has the submission. */
export type FreshSubmit = readonly [
  row: number,
  turn: number,
  now: number,
  position: number | null,
  waitingFor: string | null,
];

/** A settle that had its effect: the status by its number. The job was not asked to stop, or it makes no difference. */
export type Kept = number;

export function keptOf(number: Kept): Written {
  return { did: "keep", status: STATUSES[number] as Status, leaseUntil: null, cancel: false };
}

/** A claim waits for work; it is answered later, under this number. */
export type Waits = ["waits", number: number];

/** A job without what it is found by, which only the writer needs. */
export function flattenJob(job: Job, policies: Policies): Column[] {
  const row = { job, address: "", key: null, fingerprint: null, reach: null, idFingerprint: null };
  return given(row, policies).concat(current(job));
}

export function unflattenJob(columns: readonly unknown[], policies: Policies): Job {
  return rowOf(columns, columns, GIVEN.length, policies).job;
}

/** Answers that carry jobs, with each job as a flat list. */
export function flattenWritten(written: Written, policies: Policies): unknown {
  const flat = (job: Job) => flattenJob(job, policies);
  if ("refused" in written)
    return written.job === undefined ? written : { ...written, job: flat(written.job) };
  switch (written.did) {
    case "submit": {
      const { job, position, waitingFor, replayed } = written;
      if (!replayed) return [job.row, job.turn, job.createdAt, position, waitingFor] satisfies FreshSubmit;
      return { ...written, job: flat(job) };
    }
    case "claim":
      return { ...written, jobs: written.jobs.map(flat) };
    case "cancel":
      return { ...written, job: flat(written.job) };
    case "keep":
      if (written.leaseUntil !== null || written.cancel) return written;
      return STATUSES.indexOf(written.status) satisfies Kept;
    default:
      return written;
  }
}
