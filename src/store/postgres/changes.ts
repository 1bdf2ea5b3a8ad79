// What a transaction writes: rows that change, and all that is told from them. Everything goes as one text, in the order in which
// rows are locked, and ends with the feed and COMMIT.

import type { Event, EventKind } from "../../core/event.ts";
import { isSettled, type Job } from "../../core/job.ts";
import type { Moment } from "../../core/machine.ts";
import type { StoredJob } from "../store.ts";
import {
  encodeEvents,
  encodeGiven,
  encodeState,
  isSuspect,
  lookAt,
  STAND,
  standOf,
  statusOf,
} from "./codec.ts";
import { encodeName, list, quote, table } from "./sql.ts";
import { COUNTED, Tally, tallyMoved } from "./tally.ts";

interface Update {
  readonly before: Job;
  readonly after: Job;
  /** Where it stood and stands. */
  readonly stood: number;
  readonly stand: number;
}

export class Changes {
  readonly #updates = new Map<number, Update>();
  readonly #inserts: { readonly stored: StoredJob; readonly policy: number; readonly stand: number }[] = [];
  readonly #removed: { readonly job: Job; readonly key: string | null }[] = [];
  readonly #events: Omit<Event, "seq">[] = [];
  readonly #owners = new Map<string, { active: number; running: number }>();
  readonly #turns = new Map<string, { operation: string; priority: number; owner: string; last: number }>();
  readonly #virtual = new Map<string, { operation: string; priority: number; turn: number }>();
  /** Owners of whom one ended, and how many did. */
  readonly #ended = new Map<string, number>();
  readonly #first: string[] = [];
  readonly #keys: string[] = [];
  readonly #last: string[] = [];
  readonly tally = new Tally();
  readonly #datedAt: number;

  /** Events are dated by the clock that is ahead, so that none is forgotten early. Without a moment there are no events. */
  constructor(moment?: Moment) {
    this.#datedAt = Math.max(moment?.now ?? 0, moment?.steadyNow ?? 0);
  }

  get isEmpty(): boolean {
    return this.#updates.size + this.#inserts.length + this.#removed.length + this.#first.length === 0;
  }

  /** A statement that comes before all others. */
  also(statement: string): void {
    this.#first.push(statement);
  }

  /** A statement that names jobs by their keys. */
  name(statement: string): void {
    this.#keys.push(statement);
  }

  insert(stored: StoredJob, policy: number, now: number): number {
    const { job } = stored;
    const stand = standOf(job, now);
    this.#inserts.push({ stored, policy, stand });
    this.tally.count("", COUNTED.jobs, 1);
    this.tally.add(job.operation, stand, job.policy.priority, job.turn, 1);
    if (job.status === "processing") this.tally.count(job.operation, COUNTED.processing, 1);
    this.#count(job.owner, isSettled(job.status) ? 0 : 1, job.status === "processing" ? 1 : 0);
    if (job.status === "queued") {
      const at = JSON.stringify([job.operation, job.policy.priority, job.owner]);
      const last = Math.max(job.turn, this.#turns.get(at)?.last ?? 0);
      this.#turns.set(at, {
        operation: job.operation,
        priority: job.policy.priority,
        owner: job.owner,
        last,
      });
    }
    return stand;
  }

  /** A question that is answered as the transaction leaves the rows. */
  ask(question: string): void {
    this.#last.push(question);
  }

  /** The job as this transaction leaves it, so far. */
  latest(job: Job): Job {
    return this.#updates.get(job.row)?.after ?? job;
  }

  /** `parked`: taken out of the line though it is due. */
  update(before: Job, stood: number, after: Job, now: number, parked = false): void {
    const earlier = this.#updates.get(before.row);
    const from = earlier?.stand ?? stood;
    // Who was parked stays so, as long as it waits.
    const stays = from === STAND.parked && after.status === "queued" && before.status === "queued";
    const stand = parked || stays ? STAND.parked : standOf(after, now);
    this.#updates.set(before.row, {
      before: earlier?.before ?? before,
      after,
      stood: earlier?.stood ?? stood,
      stand,
    });
    const { operation, owner, turn } = after;
    const { priority } = after.policy;
    this.tally.add(operation, from, priority, turn, -1);
    this.tally.add(operation, stand, priority, turn, 1);
    const ran = before.status === "processing" ? 1 : 0;
    const runs = after.status === "processing" ? 1 : 0;
    if (runs !== ran) this.tally.count(operation, COUNTED.processing, runs - ran);
    const ends = isSettled(after.status) && !isSettled(before.status);
    this.#count(owner, ends ? -1 : 0, runs - ran);
    if (runs > ran) {
      const at = JSON.stringify([operation, priority]);
      this.#virtual.set(at, { operation, priority, turn: Math.max(turn, this.#virtual.get(at)?.turn ?? 0) });
    }
    const wasInLine = from === STAND.line || from === STAND.suspects;
    if ((ran === 1 && runs === 0) || (wasInLine && runs === 0 && !parked && stand !== STAND.due))
      this.#ended.set(owner, (this.#ended.get(owner) ?? 0) + 1);
  }

  remove(stored: StoredJob): void {
    this.#removed.push({ job: stored.job, key: stored.key });
    this.tally.count("", COUNTED.jobs, -1);
  }

  emit(job: Job, kinds: readonly EventKind[]): void {
    const { row, id, owner, operation, status, attempt, revision, updatedAt: at } = job;
    for (const kind of kinds)
      this.#events.push({ kind, at, row, id, owner, operation, status, attempt, revision });
  }

  get events(): readonly Omit<Event, "seq">[] {
    return this.#events;
  }

  /** What is so, as SQL, once these events and no others like them are in the feed; null where there are none. */
  get proof(): string | null {
    if (this.#events.length === 0) return null;
    return `EXISTS (SELECT FROM event WHERE at = ${this.#events[0]?.at ?? 0} AND entries = ${quote(encodeEvents(this.#events))})`;
  }

  /** All statements up to the feed's; the last of them gives the last event's sequence, if there are events. */
  statements(channel: string): string {
    const parts = [
      ...this.#first,
      this.#insertion(),
      this.#update(),
      this.#ownerCounts(),
      this.#removal(),
      ...this.#keys,
      this.#lines(),
      this.tally.statement(),
      this.#unpark(),
      ...this.#last,
    ];
    if (this.#events.length > 0) {
      parts.push(`WITH f AS (UPDATE feed SET seq = seq + ${this.#events.length} RETURNING seq),
        e AS (INSERT INTO event (last, at, entries) SELECT seq, ${this.#datedAt}, ${quote(encodeEvents(this.#events))} FROM f)
        SELECT seq, pg_notify('${channel}', seq::text) FROM f;`);
    }
    return parts.join("\n");
  }

  #count(owner: string, active: number, running: number): void {
    if (active === 0 && running === 0) return;
    const counts = this.#owners.get(owner) ?? { active: 0, running: 0 };
    this.#owners.set(owner, { active: counts.active + active, running: counts.running + running });
  }

  #insertion(): string {
    if (this.#inserts.length === 0) return "";
    const all = this.#inserts;
    const jobs = all.map(({ stored }) => stored.job);
    const names = {
      owner: jobs.map(({ owner }) => encodeName(owner)),
      operation: jobs.map((j) => encodeName(j.operation)),
    };
    const rows = jobs.map(({ row }) => row);
    return `INSERT INTO request (row, address, owner, operation, created_at, policy, key, fingerprint, reach, id_fingerprint, given)
      SELECT * FROM ${table([
        ["row", "bigint", rows],
        ["address", "uuid", all.map(({ stored }) => stored.address)],
        ["owner", "text", names.owner],
        ["operation", "text", names.operation],
        ["created_at", "bigint", jobs.map(({ createdAt }) => createdAt)],
        ["policy", "int", all.map(({ policy }) => policy)],
        ["key", "uuid", all.map(({ stored }) => stored.key)],
        ["fingerprint", "uuid", all.map(({ stored }) => stored.fingerprint)],
        ["reach", "smallint", all.map(({ stored }) => reachOf(stored.reach))],
        ["id_fingerprint", "uuid", all.map(({ stored }) => stored.idFingerprint)],
        ["given", "text", jobs.map(encodeGiven)],
      ])};
      INSERT INTO job (row, owner, operation, priority, turn, status, stand, suspect, attempt, revision, due_at, lease_until, look_at, is_gone, state)
      SELECT * FROM ${table([
        ["row", "bigint", rows],
        ["owner", "text", names.owner],
        ["operation", "text", names.operation],
        ["priority", "int", jobs.map(({ policy }) => policy.priority)],
        ["turn", "float8", jobs.map(({ turn }) => turn)],
        ["status", "smallint", jobs.map(statusOf)],
        ["stand", "smallint", all.map(({ stand }) => stand)],
        ["suspect", "boolean", jobs.map(isSuspect)],
        ["attempt", "int", jobs.map(({ attempt }) => attempt)],
        ["revision", "int", jobs.map(({ revision }) => revision)],
        ["due_at", "bigint", jobs.map(({ dueAt }) => dueAt)],
        ["lease_until", "bigint", jobs.map(({ leaseUntil }) => leaseUntil)],
        ["look_at", "bigint", jobs.map(lookAt)],
        ["is_gone", "boolean", jobs.map(({ goneAt }) => goneAt !== null)],
        ["state", "text", jobs.map(encodeState)],
      ])};`;
  }

  // The fence is checked where it is written: the row must be at the revision and attempt that was decided on.
  #update(): string {
    // A renewed lease changes no revision and touches no index but its own.
    const all = [...this.#updates.values()].filter(
      ({ before, after, stood, stand }) => before !== after || stood !== stand,
    );
    if (all.length === 0) return "";
    const after = all.map((update) => update.after);
    const gone = all.filter((update) => update.before.goneAt === null && update.after.goneAt !== null);
    const update = `UPDATE job SET status = v.status, stand = v.stand, suspect = v.suspect, attempt = v.attempt,
        revision = v.revision, due_at = v.due_at, lease_until = v.lease_until, look_at = v.look_at, is_gone = v.is_gone, state = v.state
      FROM ${table(
        [
          ["row", "bigint", after.map(({ row }) => row)],
          ["old_revision", "int", all.map(({ before }) => before.revision)],
          ["old_attempt", "int", all.map(({ before }) => before.attempt)],
          ["status", "smallint", after.map(statusOf)],
          ["stand", "smallint", all.map(({ stand }) => stand)],
          ["suspect", "boolean", after.map(isSuspect)],
          ["attempt", "int", after.map(({ attempt }) => attempt)],
          ["revision", "int", after.map(({ revision }) => revision)],
          ["due_at", "bigint", after.map(({ dueAt }) => dueAt)],
          ["lease_until", "bigint", after.map(({ leaseUntil }) => leaseUntil)],
          ["look_at", "bigint", after.map(lookAt)],
          ["is_gone", "boolean", after.map(({ goneAt }) => goneAt !== null)],
          ["state", "text", after.map(encodeState)],
        ],
        3,
      )} WHERE job.row = v.row AND job.revision = v.old_revision AND job.attempt = v.old_attempt;`;
    if (gone.length === 0) return update;
    return `${update}
      UPDATE request SET given = v.given FROM ${table([
        ["row", "bigint", gone.map(({ after: { row } }) => row)],
        ["given", "text", gone.map((one) => encodeGiven(one.after))],
      ])} WHERE request.row = v.row;`;
  }

  #removal(): string {
    if (this.#removed.length === 0) return "";
    const rows = list(
      this.#removed.map(({ job }) => job.row),
      "bigint",
    );
    return `DELETE FROM sameness USING request r WHERE r.row = ANY (${rows}) AND sameness.row = r.row AND sameness.key = r.key;
      DELETE FROM request WHERE row = ANY (${rows}); DELETE FROM job WHERE row = ANY (${rows});`;
  }

  #ownerCounts(): string {
    const owners = [...this.#owners].filter(([, { active, running }]) => active !== 0 || running !== 0);
    if (owners.length === 0) return "";
    const sorted = owners.map(([owner, counts]) => [encodeName(owner), counts] as const);
    return `INSERT INTO owner (owner, active, running) SELECT * FROM ${table([
      ["owner", "text", sorted.map(([owner]) => owner)],
      ["active", "bigint", sorted.map(([, { active }]) => active)],
      ["running", "bigint", sorted.map(([, { running }]) => running)],
    ])} ORDER BY v.owner COLLATE "C" ON CONFLICT (owner) DO UPDATE SET active = owner.active + excluded.active, running = owner.running + excluded.running;`;
  }

  #lines(): string {
    const turns = [...this.#turns.values()].sort((a, b) => byFirst([key(a)], [key(b)]));
    const virtual = [...this.#virtual.values()].sort((a, b) => byFirst([key(a)], [key(b)]));
    const lines = (rows: readonly { operation: string; priority: number }[]) =>
      [
        ["operation", "text", rows.map(({ operation }) => encodeName(operation))],
        ["priority", "int", rows.map(({ priority }) => priority)],
      ] as const;
    const parts: string[] = [];
    if (turns.length > 0)
      parts.push(
        `INSERT INTO turn (operation, priority, owner, last) SELECT * FROM ${table([
          ...lines(turns),
          ["owner", "text", turns.map(({ owner }) => encodeName(owner))],
          ["last", "float8", turns.map(({ last }) => last)],
        ])} ON CONFLICT (operation, priority, owner) DO UPDATE SET last = excluded.last;`,
      );
    if (virtual.length > 0)
      parts.push(
        `INSERT INTO line (operation, priority, virtual) SELECT * FROM ${table([
          ...lines(virtual),
          ["virtual", "float8", virtual.map(({ turn }) => turn)],
        ])} ON CONFLICT (operation, priority) DO UPDATE SET virtual = excluded.virtual WHERE line.virtual < excluded.virtual;`,
      );
    return parts.join("\n");
  }

  // One ended, so one of its owner may start: the one whose turn is first, of each operation, for which of them has a free worker
  // is not known here; those that are too many are parked again. Who holds the owner's row lets nobody park meanwhile; a parked row that
  // someone else holds is about to end.
  #unpark(): string {
    if (this.#ended.size === 0) return "";
    const owners = [...this.#ended];
    return unpark(
      table([
        ["owner", "text", owners.map(([owner]) => encodeName(owner))],
        ["n", "int", owners.map(([, count]) => count)],
      ]),
    );
  }
}

/** Lets parked jobs stand in line again: of each operation the first `n` of an owner; `owners` is a table `v` of `owner` and `n`. */
export function unpark(owners: string): string {
  return `WITH p AS (SELECT l.row FROM ${owners},
      (SELECT operation FROM tally WHERE stand = ${STAND.parked} GROUP BY 1 HAVING sum(n) > 0) o,
      LATERAL (SELECT row FROM job WHERE owner = v.owner AND operation = o.operation AND stand = ${STAND.parked}
        ORDER BY suspect DESC, priority DESC, turn, row LIMIT v.n FOR NO KEY UPDATE SKIP LOCKED) l),
    moved AS (UPDATE job SET stand = CASE WHEN suspect THEN ${STAND.suspects} ELSE ${STAND.line} END FROM p WHERE job.row = p.row
      RETURNING job.operation, job.priority, job.turn, ${STAND.parked} AS was, job.stand AS stands)
    ${tallyMoved("moved")};`;
}

function key({ operation, priority }: { operation: string; priority: number }): string {
  return JSON.stringify([operation, priority]);
}

function byFirst([a]: readonly [string, ...unknown[]], [b]: readonly [string, ...unknown[]]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function reachOf(reach: "life" | "live" | null): number | null {
  return reach === null ? null : reach === "live" ? 1 : 0;
}
