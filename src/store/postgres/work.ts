// The worker's side: a batch of claims, heartbeats, settles, cancels and sweeps in one transaction. Rows that are named are locked
// in their order; claims and sweeps skip what others hold. Then the machine decides, and what it decided is written.

import { isSettled, type Job } from "../../core/job.ts";
import {
  type Command,
  decide,
  earlierNow,
  isDue,
  isOverrun,
  MAX_CRASHES,
  type Moment,
  missedStart,
  type Refusal,
} from "../../core/machine.ts";
import type {
  CancelWrite,
  ClaimWrite,
  Digest,
  HeartbeatWrite,
  SettleWrite,
  SweepWrite,
  Written,
} from "../store.ts";
import { Changes } from "./changes.ts";
import { type Columns, decodeJob, decodeStored, lookAt, SIGHT, STAND, TOMBSTONE_MS } from "./codec.ts";
import type { Held } from "./held.ts";
import type { Policies } from "./policies.ts";
import { decodeDigest, encodeName, list, quote } from "./sql.ts";
import { tallyMoved } from "./tally.ts";
import type { Transaction } from "./transaction.ts";

export type WorkWrite = ClaimWrite | HeartbeatWrite | SettleWrite | CancelWrite | SweepWrite;

/** Jobs that come due, in one transaction. */
const MOST_DUE = 1000;

/** Jobs that one transaction takes at most. */
const MOST_TAKEN = 2000;

interface Row {
  readonly job: Job;
  readonly stand: number;
}

export async function work(
  transaction: Transaction,
  writes: readonly WorkWrite[],
  held: Held,
  policies: Policies,
  moment: Moment,
) {
  const batch = await read(transaction, writes, held, policies, moment);
  const changes = new Changes(moment);
  const written: (Written | undefined)[] = [];
  for (const [at, write] of writes.entries()) {
    if (write.do === "claim") written[at] = batch.claim(changes, write, moment);
    else if (write.do === "sweep") written[at] = batch.sweep(changes, write, moment);
    else written[at] = batch.change(changes, write, moment);
  }
  const { events } = await transaction.commit(changes);
  // Only what is durable is remembered.
  batch.remember(changes, transaction.xmin());
  return { written: written as Written[], events };
}

async function read(
  { run }: Transaction,
  writes: readonly WorkWrite[],
  held: Held,
  policies: Policies,
  { now }: Moment,
) {
  const named = new Set<number>();
  const addresses: Digest[] = [];
  const wanted = new Map<string, number>();
  let claims = 0;
  let sweeps = 0;
  for (const write of writes) {
    if (write.do === "heartbeat" || write.do === "settle") named.add(write.row);
    else if (write.do === "cancel") addresses.push(write.address);
    else if (write.do === "sweep") sweeps = Math.max(sweeps, write.limit);
    else {
      claims++;
      for (const [operation, slots] of Object.entries(write.slots)) {
        const most = Math.min(slots, write.limit);
        if (most > 0) wanted.set(operation, Math.min(MOST_TAKEN, (wanted.get(operation) ?? 0) + most));
      }
    }
  }
  const parts: string[] = [];
  const answers: ((rows: readonly unknown[]) => void)[] = [];
  const ask = (text: string, answer: (rows: readonly unknown[]) => void) => {
    parts.push(text);
    answers.push(answer);
  };
  const batch = new Batch(held, policies, addresses.length > 0);
  const columns: Columns[] = [];
  const keep = (rows: readonly unknown[]) => columns.push(...(rows as readonly Columns[]));

  if (named.size + addresses.length > 0) {
    const byAddress =
      addresses.length === 0
        ? ""
        : ` || ARRAY(SELECT row FROM request WHERE address = ANY (${list(addresses, "uuid")}))`;
    // A job that this process holds is known, unless another one wrote it since.
    ask(
      `SELECT row, xmin::text, stand FROM job WHERE row = ANY (${list([...named], "bigint")}${byAddress}) ORDER BY row FOR NO KEY UPDATE`,
      (rows) => batch.locked(rows as readonly Locked[]),
    );
    const unknown = [...named].filter((row) => !held.has(row));
    if (unknown.length > 0 || addresses.length > 0)
      ask(
        `SELECT ${SIGHT} FROM request r JOIN job j USING (row) WHERE row = ANY (${list(unknown, "bigint")}${byAddress})`,
        keep,
      );
  }
  if (claims > 0 || sweeps > 0)
    ask(
      `WITH due AS (SELECT row FROM job WHERE stand = ${STAND.due} AND due_at <= ${now} ORDER BY due_at LIMIT ${MOST_DUE} FOR NO KEY UPDATE SKIP LOCKED),
        moved AS (UPDATE job SET stand = CASE WHEN suspect THEN ${STAND.suspects} ELSE ${STAND.line} END FROM due WHERE job.row = due.row
          RETURNING job.row, job.operation, job.priority, job.turn, ${STAND.due} AS was, job.stand AS stands),
        counted AS (${tallyMoved("moved")})
        SELECT row, stands AS stand FROM moved`,
      (rows) => batch.moved(rows as readonly Moved[]),
    );
  if (sweeps > 0) {
    ask(taking(`look_at <= ${now}`, "look_at", sweeps), (rows) => {
      keep(rows);
      batch.sweeps(rows as readonly Columns[]);
    });
  }
  for (const [operation, most] of wanted) {
    const isOpen = `operation = ${quote(encodeName(operation))} AND NOT EXISTS (SELECT FROM fact WHERE name = ${quote(`paused:${encodeName(operation)}`)})`;
    const take = (stand: number, order: string, limit: number) =>
      taking(`${isOpen} AND stand = ${stand}`, order, limit);
    ask(take(STAND.suspects, "turn, row", claims), (rows) => {
      keep(rows);
      batch.suspects(operation, rows as readonly Columns[]);
    });
    ask(take(STAND.line, "priority DESC, turn, row", most), (rows) => {
      keep(rows);
      batch.line(operation, rows as readonly Columns[]);
    });
  }
  if (claims > 0)
    ask(`SELECT min(due_at) AS next_at FROM job WHERE stand = ${STAND.due}`, ([row]) => {
      batch.nextAt = (row as { next_at: number | null }).next_at;
    });
  const results = await run(parts.join(";\n"));
  for (const [at, answer] of answers.entries()) answer(results[at]?.rows ?? []);
  await batch.decode(columns);
  await batch.readStale(run);
  await batch.readRunning(run);
  return batch;
}

// The first rows that nobody else has, locked. They are picked before they are joined to what was asked of them, so that it takes no
// statistics to do it in that order.
function taking(where: string, order: string, limit: number): string {
  return `SELECT ${SIGHT} FROM (SELECT * FROM job WHERE ${where} ORDER BY ${order} LIMIT ${limit} FOR NO KEY UPDATE SKIP LOCKED) j
    JOIN request r USING (row) ORDER BY ${order.replace("row", "j.row")}`;
}

interface Moved {
  readonly row: number;
  readonly stand: number;
}

interface Locked {
  readonly row: number;
  readonly xmin: string;
  readonly stand: number;
}

/** The rows that a batch has at hand, each locked. */
class Batch {
  readonly #held: Held;
  readonly #policies: Policies;
  readonly #rows = new Map<number, Row>();
  readonly #columns = new Map<number, Columns>();
  readonly #isCancelling: boolean;
  readonly #byAddress = new Map<Digest, number>();
  readonly #suspects = new Map<string, number[]>();
  readonly #lines = new Map<string, number[]>();
  readonly #swept = new Set<number>();
  readonly #stale: number[] = [];
  /** Where rows stand that this transaction let stand in line: whoever locked them before saw them elsewhere. */
  readonly #moved = new Map<number, number>();
  /** Owners' running jobs, where that is limited. */
  readonly #running = new Map<string, number>();
  readonly #claimed: { readonly row: number; readonly attempt: number; readonly isKept: boolean }[] = [];
  nextAt: number | null = null;

  constructor(held: Held, policies: Policies, isCancelling: boolean) {
    this.#isCancelling = isCancelling;
    this.#held = held;
    this.#policies = policies;
  }

  locked(rows: readonly Locked[]): void {
    for (const { row, xmin, stand } of rows) {
      if (!this.#held.has(row)) continue;
      const job = this.#held.get(row, xmin);
      if (job === null) this.#stale.push(row);
      else this.#rows.set(row, { job, stand });
    }
  }

  /** Rows that came due while the batch already had them. */
  moved(rows: readonly Moved[]): void {
    for (const { row, stand } of rows) {
      this.#moved.set(row, stand);
      const known = this.#rows.get(row);
      if (known !== undefined) this.#rows.set(row, { ...known, stand });
    }
  }

  sweeps(rows: readonly Columns[]): void {
    for (const { row } of rows) this.#swept.add(row);
  }

  suspects(operation: string, rows: readonly Columns[]): void {
    this.#suspects.set(
      operation,
      rows.map(({ row }) => row),
    );
  }

  line(operation: string, rows: readonly Columns[]): void {
    this.#lines.set(
      operation,
      rows.map(({ row }) => row),
    );
  }

  async decode(columns: readonly Columns[]): Promise<void> {
    await this.#policies.read(columns.map(({ policy }) => policy));
    for (const one of columns) {
      this.#columns.set(one.row, one);
      if (this.#isCancelling) this.#byAddress.set(decodeDigest(one.address), one.row);
      if (this.#rows.has(one.row)) continue;
      const stand = this.#moved.get(one.row) ?? one.stand;
      this.#rows.set(one.row, { job: decodeJob(one, this.#policies.policy(one.policy)), stand });
    }
  }

  // Held here, but changed by another process: their rows are locked by now.
  async readStale(run: Transaction["run"]): Promise<void> {
    const rows = this.#stale.filter((row) => !this.#rows.has(row));
    if (rows.length === 0) return;
    const [result] = await run(
      `SELECT ${SIGHT} FROM request r JOIN job j USING (row) WHERE row = ANY (${list(rows, "bigint")})`,
    );
    await this.decode((result?.rows ?? []) as readonly Columns[]);
  }

  async readRunning(run: Transaction["run"]): Promise<void> {
    const taken = [...this.#suspects.values(), ...this.#lines.values()].flat();
    if (!taken.some((row) => this.#rows.get(row)?.job.policy.running !== null)) return;
    // All whose counts may change: owners are locked at once, or two batches could wait for each other.
    const owners = new Set([...this.#rows.values()].map(({ job }) => encodeName(job.owner)));
    const [result] = await run(
      `SELECT owner, running FROM owner WHERE owner = ANY (${list([...owners], "text")}) ORDER BY owner FOR NO KEY UPDATE`,
    );
    for (const { owner, running } of (result?.rows ?? []) as readonly { owner: string; running: number }[])
      this.#running.set(owner, running);
  }

  change(changes: Changes, write: HeartbeatWrite | SettleWrite | CancelWrite, moment: Moment): Written {
    const number = write.do === "cancel" ? this.#byAddress.get(write.address) : write.row;
    const row = number === undefined ? undefined : this.#rows.get(number);
    if (row === undefined) return { refused: write.do === "cancel" ? "not-found" : "lease-lost" };
    const changed = this.#decide(changes, row, write.do === "cancel" ? { do: "cancel" } : write, moment);
    if (changed.refused !== undefined)
      return write.do === "cancel"
        ? { refused: changed.refused, job: changed.job }
        : { refused: changed.refused };
    if (write.do === "cancel") return { did: "cancel", job: changed.job };
    const { status, leaseUntil, cancelRequestedAt } = changed.job;
    return { did: "keep", status, leaseUntil, cancel: cancelRequestedAt !== null };
  }

  claim(changes: Changes, write: ClaimWrite, moment: Moment): Written {
    const jobs: Job[] = [];
    let passed = 0;
    const answer = (drain: boolean): Written => ({
      ...{ did: "claim", jobs, drain },
      // Whoever was passed over stood before others that were not looked at.
      nextAt: passed > 0 && jobs.length === 0 ? moment.now : this.nextAt,
    });
    const last = (write.suspects ?? 0) > 0 ? null : this.#takeSuspect(changes, write, jobs, moment);
    if (last !== null) return answer(true);
    for (const [operation, slots] of Object.entries(write.slots)) {
      // A job that lost its worker has taken a slot already.
      const free = slots - jobs.filter((job) => job.operation === operation).length;
      const most = Math.min(jobs.length + free, write.limit);
      const line = this.#lines.get(operation) ?? [];
      while (jobs.length < most) {
        const next = line.shift();
        if (next === undefined) break;
        if (this.#take(changes, next, write, jobs, moment) !== "taken") passed++;
      }
    }
    return answer(false);
  }

  // A job that lost its worker is tried again one at a time, and its last try alone: see embedded/claim.ts.
  #takeSuspect(changes: Changes, write: ClaimWrite, jobs: Job[], moment: Moment): number | null {
    for (const [operation, slots] of Object.entries(write.slots)) {
      if (Math.min(slots, write.limit) < 1) continue;
      const suspects = this.#suspects.get(operation) ?? [];
      for (let next = suspects[0]; next !== undefined; next = suspects[0]) {
        const isLastTry = (this.#rows.get(next)?.job.crashes ?? 0) >= MAX_CRASHES - 1;
        if (isLastTry && write.running > 0) return next;
        suspects.shift();
        if (this.#take(changes, next, write, jobs, moment) === "taken") return isLastTry ? next : null;
      }
    }
    return null;
  }

  #take(
    changes: Changes,
    number: number,
    write: ClaimWrite,
    jobs: Job[],
    moment: Moment,
  ): "taken" | "parked" | "not-taken" {
    const row = this.#rows.get(number) as Row;
    const job = changes.latest(row.job);
    // An earlier write of the batch may have ended it.
    if (job.status !== "queued") return "not-taken";
    const owner = encodeName(job.owner);
    const running = this.#running.get(owner) ?? 0;
    if (job.policy.running !== null && running >= job.policy.running) {
      changes.update(job, row.stand, job, moment.now, true);
      return "parked";
    }
    if (!isDue(job, moment.now)) {
      changes.update(job, row.stand, job, moment.now);
      return "not-taken";
    }
    const command: Command = missedStart(job, moment.now)
      ? { do: "reclaim" }
      : { do: "claim", worker: write.worker };
    const changed = this.#decide(changes, row, command, moment);
    if (changed.refused !== undefined)
      throw new Error(`Row ${number} stands in line but is ${changed.refused}.`);
    if (changed.job.status !== "processing") return "not-taken";
    this.#running.set(owner, running + 1);
    this.#claimed.push({ row: number, attempt: changed.job.attempt, isKept: write.held });
    jobs.push(changed.job);
    return "taken";
  }

  sweep(changes: Changes, { limit }: SweepWrite, moment: Moment): Written {
    const gone: Digest[] = [];
    let changed = 0;
    for (const number of this.#swept) {
      if (changed === limit) break;
      if (this.#sweepRow(changes, number, gone, moment)) changed++;
    }
    return { did: "sweep", changed, gone, more: changed > 0 && this.#swept.size >= limit };
  }

  #sweepRow(changes: Changes, number: number, gone: Digest[], moment: Moment): boolean {
    const row = this.#rows.get(number) as Row;
    const job = changes.latest(row.job);
    const columns = this.#columns.get(number) as Columns;
    const steadyNow = earlierNow(moment);
    if (job.goneAt !== null) {
      if (job.goneAt + TOMBSTONE_MS > steadyNow) return this.#later(changes, job, steadyNow, moment);
      changes.remove(decodeStored(columns, this.#policies.policy(columns.policy)));
      return true;
    }
    if (isSettled(job.status)) {
      if (job.expiresAt === null) return false;
      if (job.expiresAt > steadyNow) return this.#later(changes, job, steadyNow, moment);
      gone.push(decodeDigest(columns.address));
      return this.#decide(changes, row, { do: "expire" }, moment).refused === undefined;
    }
    // A lease that is kept here lapses for nobody here: its worker lives, however the clock was set.
    if (this.#held.keeps(number, job.attempt) && !isDone(job, moment)) return false;
    const isOver = this.#decide(changes, row, { do: "reclaim" }, moment).refused === undefined;
    if (!isOver) this.#later(changes, job, steadyNow, moment);
    return isOver;
  }

  // Over by a clock that ran ahead: it is looked at again when it is over by the other one.
  #later(changes: Changes, job: Job, steadyNow: number, { now }: Moment): false {
    const wait = Math.max(1, (lookAt(job) ?? now) - steadyNow);
    changes.also(`UPDATE job SET look_at = ${Math.ceil(now + wait)} WHERE row = ${job.row};`);
    return false;
  }

  #decide(
    changes: Changes,
    row: Row,
    command: Command,
    moment: Moment,
  ): { readonly job: Job; readonly refused?: Refusal } {
    const before = changes.latest(row.job);
    const decision = decide(before, command, moment);
    if ("refused" in decision) return { refused: decision.refused, job: before };
    const { job, events } = decision;
    if (job !== before) {
      changes.update(before, row.stand, job, moment.now);
      changes.emit(job, events);
    }
    return { job };
  }

  /** After the commit: what this process works on need not be read again. */
  remember(changes: Changes, xmin: string): void {
    const claimed = new Set(this.#claimed.map(({ row }) => row));
    for (const { row, attempt, isKept } of this.#claimed) this.#held.keep(row, isKept ? attempt : null);
    for (const [row, { job: before }] of this.#rows) {
      if (!claimed.has(row) && !this.#held.has(row)) continue;
      const job = changes.latest(before);
      if (job === before) continue;
      if (job.status === "processing") this.#held.set(job, xmin);
      else this.#held.delete(row);
    }
  }
}

// An attempt that nothing may keep alive: its time, or the grace after a cancel, is over.
function isDone(job: Job, moment: Moment): boolean {
  return (
    isOverrun(job, moment) ||
    (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= moment.now)
  );
}
