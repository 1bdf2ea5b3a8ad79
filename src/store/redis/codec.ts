// A job as the fields of its hash, and an event as an entry of the feed. What never changes is written once; the state is written
// with every change, behind a head that scripts can read without taking JSON apart:
//
//   s = <token: 16 characters, another one with every write> <suspect: how many workers it lost> <status' letter, g for gone>
//       <c where there is a checkpoint> <JSON>
//
// The token is what a change is compared with: unlike a count it can't come to mean another state after a failover.

import { createHash } from "node:crypto";
import type { Event, EventKind } from "../../core/event.ts";
import type { StoredFile } from "../../core/handler.ts";
import { isSettled, type Job, type Policy, type Result, STATUSES, type Status } from "../../core/job.ts";
import type { Moment } from "../../core/machine.ts";
import type { ProblemDocument } from "../../core/problem.ts";
import type { StoredJob } from "../store.ts";

/** Redis gives null for a field that is not there. */
export type Text = string | null;

/** The fields r, i, u, c and s of a job's hash; a slim reading has r and s only. */
export interface Fields {
  readonly member: string;
  readonly r: string;
  readonly i?: Text;
  readonly u?: Text;
  readonly c?: Text;
  readonly s: string;
}

const HEAD = 19;

/** A row as its name in every index: equal turns stand in the order of their rows. */
export function memberOf(row: number): string {
  return String(row).padStart(13, "0");
}

/** What never changes, but for the turn, which the script puts before it. */
export function encodeRequest(stored: StoredJob, policy: string): string {
  const { job } = stored;
  const given = [
    String(job.policy.priority),
    job.policy.running,
    wellFormed(job.owner),
    wellFormed(job.operation),
    wellFormed(job.id),
    policy,
    job.createdAt,
    job.startBy,
    stored.address,
    stored.key,
    stored.fingerprint,
    stored.reach,
    stored.idFingerprint,
  ];
  return JSON.stringify(given).slice(1);
}

/** Upload and trace; empty where there is neither. */
export function encodeExtras({ upload, trace }: Pick<Job, "upload" | "trace">): string {
  return upload === null && trace === null ? "" : JSON.stringify([upload, trace]);
}

export function encodeState(job: Job, token: string, hasCheckpoint: boolean): string {
  const state: unknown[] = [
    STATUSES.indexOf(job.status),
    job.revision,
    job.attempt,
    job.failures,
    job.crashes,
    job.dueAt,
    job.updatedAt,
    job.startedAt,
    job.worker,
    job.leaseUntil,
    job.finishedAt,
    job.expiresAt,
    job.progress,
    job.result === null ? null : encodeResult(job.result),
    job.goneAt,
    job.cancelRequestedAt,
    job.message,
    job.files.length === 0 ? null : job.files,
    job.problem,
  ];
  while (state.at(-1) === null) state.pop();
  return `${token}${suspicion(job)}${letterOf(job)}${hasCheckpoint ? "c" : "-"}${JSON.stringify(state)}`;
}

/** Whoever lost a worker may be what kills them, unless each attempt has a process of its own. */
function suspicion(job: Job): number {
  return job.policy.isolated ? 0 : Math.min(9, job.crashes);
}

function letterOf(job: Job): string {
  if (job.goneAt !== null) return "g";
  return isSettled(job.status) ? "e" : job.status === "queued" ? "q" : "p";
}

export function tokenOf(s: string): string {
  return s.slice(0, 16);
}

/** Also where only a slim reading is at hand. */
export function hasCheckpoint(s: string): boolean {
  return s[18] === "c";
}

/** The priority's and limit's place is known to the scripts too: turn, priority, running limit, owner, operation. */
type Given = [
  turn: number,
  priority: string,
  running: number | null,
  owner: string,
  operation: string,
  id: string,
  policy: string,
  createdAt: number,
  startBy: number | null,
  address: string,
  key: Text,
  fingerprint: Text,
  reach: "life" | "live" | null,
  idFingerprint: Text,
];

/** What a listing is narrowed by. */
export function outlineOf({ r, s }: Fields): {
  readonly status: Status;
  readonly operation: string;
  readonly createdAt: number;
} {
  const given = JSON.parse(r) as Given;
  const [status] = JSON.parse(s.slice(HEAD)) as [number];
  return { status: STATUSES[status] as Status, operation: given[4], createdAt: given[7] };
}

/** The digest of the policy that a job names. */
export function policyOf({ r }: Fields): string {
  return (JSON.parse(r) as Given)[6];
}

/** A job with all that it is found by; of a slim reading, without input, upload, trace and checkpoint. */
export function decodeJob(fields: Fields, policyNamed: (digest: string) => Policy): StoredJob {
  const given = JSON.parse(fields.r) as Given;
  const state = JSON.parse(fields.s.slice(HEAD)) as unknown[];
  const at = <T>(index: number) => (state[index] ?? null) as T;
  const [upload, trace] = (fields.u == null ? [null, null] : JSON.parse(fields.u)) as [
    StoredFile | null,
    Text,
  ];
  const result = at<Text>(13);
  const job: Job = {
    row: Number(fields.member),
    id: given[5],
    owner: given[3],
    operation: given[4],
    policy: policyNamed(given[6]),
    input: fields.i ?? "null",
    upload,
    trace,
    status: STATUSES[at<number>(0)] as Status,
    revision: at(1),
    attempt: at(2),
    failures: at(3),
    crashes: at(4),
    turn: given[0],
    createdAt: given[7],
    dueAt: at(5),
    startBy: given[8],
    startedAt: at(7),
    updatedAt: at(6),
    finishedAt: at(10),
    expiresAt: at(11),
    goneAt: at(14),
    cancelRequestedAt: at(15),
    worker: at(8),
    leaseUntil: at(9),
    progress: at(12),
    message: at(16),
    checkpoint: fields.c ?? null,
    result: result === null ? null : decodeResult(result),
    files: at<readonly StoredFile[] | null>(17) ?? NO_FILES,
    problem: at<ProblemDocument | null>(18),
  };
  return {
    job,
    address: given[9],
    key: given[10],
    fingerprint: given[11],
    reach: given[12],
    idFingerprint: given[13],
  };
}

const NO_FILES: readonly StoredFile[] = [];

// A file's name stands behind a sign that no JSON begins with.
function encodeResult(result: Result): string {
  return "json" in result ? result.json : `@${result.file}`;
}

function decodeResult(text: string): Result {
  return text.startsWith("@") ? { file: text.slice(1) } : { json: text };
}

// Half of a surrogate pair is no UTF-8, and the scripts' JSON takes none.
function wellFormed(text: string): string {
  return /[\ud800-\udfff]/.test(text) ? Buffer.from(text).toString() : text;
}

/** Policies are few and jobs many: each is kept once, and named by its digest. */
export class Policies {
  readonly #byDigest = new Map<string, Policy>();
  readonly #digests = new WeakMap<Policy, string>();

  digest(policy: Policy): string {
    let digest = this.#digests.get(policy);
    if (digest === undefined) {
      digest = createHash("sha256").update(JSON.stringify(policy)).digest("hex").slice(0, 16);
      this.#digests.set(policy, digest);
      this.learn(digest, policy);
    }
    return digest;
  }

  get(digest: string): Policy | undefined {
    return this.#byDigest.get(digest);
  }

  learn(digest: string, policy: Policy): void {
    // Bounded: what is forgotten is read again.
    if (this.#byDigest.size >= 10_000) this.#byDigest.clear();
    this.#byDigest.set(digest, policy);
  }
}

/** What a batch names many times, such as the owners and operations of its events: each is written once. */
export class Names {
  readonly #numbers = new Map<string, number>();

  number(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(name, number);
    }
    return number;
  }

  get all(): readonly string[] {
    return [...this.#numbers.keys()];
  }
}

// What is written counts from here: append only.
const KINDS: readonly EventKind[] = [
  "queued",
  "started",
  "progress",
  "retrying",
  "cancel-requested",
  "completed",
  "failed",
  "canceled",
  "expired",
];

/** An event without its sequence, which is its place in the feed. */
export type Happening = Omit<Event, "seq">;

export function happeningOf(kind: EventKind, job: Job): Happening {
  return {
    kind,
    at: job.updatedAt,
    row: job.row,
    id: job.id,
    owner: job.owner,
    operation: job.operation,
    status: job.status,
    attempt: job.attempt,
    revision: job.revision,
  };
}

export function numbered(happening: Happening, seq: number): Event {
  return { seq, ...happening };
}

/** By which the entry is forgotten: a clock that was set back must not have it forgotten before it is read. */
export function stampOf({ now, steadyNow = now }: Moment): string {
  return String(Math.max(now, steadyNow));
}

/** Without the row, which a new job's script puts before it. */
export function encodeHappening(event: Happening, names: Names): string {
  const owner = names.number(event.owner);
  const operation = names.number(event.operation);
  const status = STATUSES.indexOf(event.status);
  return `${KINDS.indexOf(event.kind)},${event.at},${status},${event.attempt},${event.revision},${JSON.stringify(event.id)},${owner},${operation}]`;
}

type EventColumns = [number, number, number, number, number, number, string, number, number];

/** The events of one entry of the feed. */
export function decodeEntry(last: number, names: string, text: string): Event[] {
  const dictionary = JSON.parse(names) as string[];
  const all = JSON.parse(`[${text}]`) as EventColumns[];
  return all.map(([row, kind, at, status, attempt, revision, id, owner, operation], index) => ({
    seq: last - all.length + 1 + index,
    kind: KINDS[kind] as EventKind,
    at,
    row,
    id,
    owner: dictionary[owner] as string,
    operation: dictionary[operation] as string,
    status: STATUSES[status] as Status,
    attempt,
    revision,
  }));
}
