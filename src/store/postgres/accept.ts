// Submissions: a batch in one transaction. The rows of their owners are locked first, and an owner's keys, ids, quota and turns are
// its own; so what is read then stays true until the commit, whoever else accepts.

import { isSettled, type Job } from "../../core/job.ts";
import { decide, earlierNow, type Moment } from "../../core/machine.ts";
import { keyEndsAt } from "../key.ts";
import type { Sameness, StoredJob, SubmitWrite, Written } from "../store.ts";
import { Changes, reachOf } from "./changes.ts";
import { decodeJob, STAND } from "./codec.ts";
import type { Result } from "./connection.ts";
import type { Policies } from "./policies.ts";
import { type Operation, operations, type Seen, waitingFor } from "./sight.ts";
import { decodeDigest, encodeName, list, table } from "./sql.ts";
import { COUNTED, placeBefore } from "./tally.ts";
import type { Transaction } from "./transaction.ts";

interface Fresh {
  readonly at: number;
  readonly job: Job;
  readonly stand: number;
}

/** Accepts or refuses each; gives the answers and the events. */
export async function accept(
  transaction: Transaction,
  writes: readonly SubmitWrite[],
  policies: Policies,
  moment: Moment,
) {
  const known = await look(transaction, writes, policies);
  const changes = new Changes(moment);
  const written: (Written | undefined)[] = [];
  const fresh: Fresh[] = [];
  const named: { readonly sameness: Sameness; readonly row: number }[] = [];
  const replays = new Map<number, Job>();

  for (const [at, write] of writes.entries()) {
    const same = known.same(write, moment);
    if (same !== null) {
      if (same.matches) replays.set(at, same.job);
      else written[at] = { refused: "key-reused" };
      continue;
    }
    const refused = known.refuses(write) ?? (write.onlyRepeat === true ? ("not-found" as const) : null);
    if (refused !== null) {
      written[at] = { refused };
      continue;
    }
    const { submission, sameness } = write;
    const { row, turn } = known.next(write);
    const decision = decide(null, { do: "submit", submission, row, turn }, moment);
    if ("refused" in decision) throw new Error(`A submission was refused as ${decision.refused}.`);
    const { job, events } = decision;
    const stored: StoredJob = {
      job,
      address: write.address,
      key: sameness?.key ?? null,
      fingerprint: sameness?.fingerprint ?? null,
      reach: sameness?.reach ?? null,
      idFingerprint: write.idFingerprint,
    };
    const stand = changes.insert(stored, policies.number(job.policy), moment.now);
    changes.emit(job, events);
    known.accepted(stored, write);
    if (sameness !== null) named.push({ sameness, row });
    fresh.push({ at, job, stand });
  }
  keepNames(changes, named);
  const inLine = fresh.filter(({ stand }) => stand === STAND.line);
  if (inLine.length > 0) changes.ask(placesOf(inLine.map(({ job }) => job)));
  const { results, events } = await transaction.commit(changes);
  const places = readPlaces(
    inLine.map(({ job }) => job),
    results,
  );
  for (const { at, job, stand } of fresh) {
    const about = known.about.get(encodeName(job.operation)) ?? UNKNOWN;
    const place = places.get(job.row);
    const why = waitingFor(job, stand, about, moment.now);
    if (place !== undefined || stand !== STAND.line)
      written[at] = { did: "submit", job, position: place ?? null, waitingFor: why, replayed: false };
  }
  // Repeats, and what was committed without being told its place, are read as they stand now.
  const unread = [...writes.keys()].filter((at) => written[at] === undefined);
  const jobs = new Map(
    unread.map((at) => [at, replays.get(at) ?? (fresh.find((one) => one.at === at) as Fresh).job]),
  );
  return { written, events, unread: jobs, isReplay: (at: number) => replays.has(at) };
}

const UNKNOWN: Operation = { seen_at: null, processing: 0, is_paused: false };

// The place of the first new job of an owner in a line is looked up; that of the next is as many further as stand between them,
// which are few, for owners take turns.
function placesOf(jobs: readonly Job[]): string {
  const before = new Map<string, Job>();
  const previous = jobs.map((job) => {
    const line = lineOf(job);
    const last = before.get(line) ?? null;
    before.set(line, job);
    return last;
  });
  const between = `(SELECT count(*) FROM job l WHERE l.operation = v.operation AND l.stand = ${STAND.line} AND l.priority = v.priority
    AND (l.turn, l.row) >= (v.previous_turn, v.previous_row) AND (l.turn, l.row) < (v.turn, v.row))`;
  return `SELECT v.row AS placed, CASE WHEN v.previous_row IS NULL THEN ${placeBefore("v.operation", "v.priority", "v.turn", "v.row")}
      ELSE ${between} END AS place
    FROM ${table([
      ["row", "bigint", jobs.map(({ row }) => row)],
      ["operation", "text", jobs.map(({ operation }) => encodeName(operation))],
      ["priority", "int", jobs.map(({ policy }) => policy.priority)],
      ["turn", "float8", jobs.map(({ turn }) => turn)],
      ["previous_row", "bigint", previous.map((job) => job?.row ?? null)],
      ["previous_turn", "float8", previous.map((job) => job?.turn ?? null)],
    ])};`;
}

function readPlaces(jobs: readonly Job[], results: readonly Result[]): ReadonlyMap<number, number> {
  const rows = results.map((result) => result.rows as readonly { placed?: number; place: number }[]);
  const places = new Map(
    rows.find(([one]) => one?.placed !== undefined)?.map((one) => [one.placed as number, one.place]),
  );
  const last = new Map<string, number>();
  for (const job of jobs) {
    const place = places.get(job.row);
    if (place === undefined) continue;
    const position = last.has(lineOf(job)) ? (last.get(lineOf(job)) as number) + place : place + 1;
    last.set(lineOf(job), position);
    places.set(job.row, position);
  }
  return places;
}

function lineOf({ operation, policy, owner }: Job): string {
  return at(operation, policy.priority, owner);
}

// Locks the owners, then reads all that the batch is judged by.
async function look({ run }: Transaction, writes: readonly SubmitWrite[], policies: Policies) {
  const owners = [...new Set(writes.map(({ submission }) => encodeName(submission.owner)))];
  const names = [...new Set(writes.map(({ submission }) => submission.operation))];
  const samenesses = [
    ...new Map(
      writes.flatMap(({ sameness: one }) => (one === null ? [] : [[`${one.reach} ${one.key}`, one]])),
    ).values(),
  ];
  const keys = table([
    ["key", "uuid", samenesses.map(({ key }) => key)],
    ["reach", "smallint", samenesses.map(({ reach }) => reachOf(reach))],
  ]);
  const ids = [...new Set(writes.flatMap((write) => (write.idFingerprint === null ? [] : [write.address])))];
  const ofOperations = list(names.map(encodeName), "text");
  const [, locked, turns, lines, lengths, about, queued, rows, same, taken] = await run(`
    INSERT INTO owner (owner, active, running) SELECT o, 0, 0 FROM unnest(${list(owners, "text")}) o ORDER BY o COLLATE "C" ON CONFLICT DO NOTHING;
    SELECT owner, active FROM owner WHERE owner = ANY (${list(owners, "text")}) ORDER BY owner FOR NO KEY UPDATE;
    SELECT operation, priority, owner, last FROM turn WHERE owner = ANY (${list(owners, "text")}) AND operation = ANY (${ofOperations});
    SELECT operation, priority, virtual FROM line WHERE operation = ANY (${ofOperations});
    SELECT operation, priority, sum(n)::bigint AS n FROM tally WHERE stand = ${STAND.line} AND operation = ANY (${ofOperations})
      AND level = 0 GROUP BY 1, 2;
    ${operations(names)};
    ${QUEUED};
    SELECT nextval('job_row') AS row FROM generate_series(1, ${writes.length});
    SELECT s.key AS same_key, s.reach AS same_reach, r.*, j.* FROM ${keys}
      CROSS JOIN LATERAL (SELECT * FROM sameness WHERE key = v.key AND reach = v.reach OFFSET 0) s JOIN request r ON r.row = s.row JOIN job j ON j.row = s.row;
    SELECT r.*, j.* FROM request r JOIN job j USING (row) WHERE r.address = ANY (${list(ids, "uuid")})`);
  const found = [...(same?.rows ?? []), ...(taken?.rows ?? [])] as readonly Seen[];
  await policies.read(found.map(({ policy }) => policy));
  await policies.learn(writes.map(({ submission }) => submission.policy));
  const locks = backlogLocks(writes, (queued?.rows ?? []) as readonly Queued[]);
  const [, recounted = queued] = locks === null ? [] : await run(`${locks}; ${QUEUED}`);
  return new Known({
    ...{
      locked: locked?.rows,
      turns: turns?.rows,
      lines: lines?.rows,
      lengths: lengths?.rows,
      about: about?.rows,
    },
    ...{ queued: recounted?.rows, rows: rows?.rows, same: same?.rows, taken: taken?.rows },
    policies,
  });
}

const QUEUED = `SELECT operation, sum(n)::bigint AS n FROM tally WHERE stand = ${COUNTED.queued} GROUP BY 1`;

interface Queued {
  readonly operation: string;
  readonly n: number;
}

/** More than all servers together accept at one instant: 16 full batches. */
const NEAR = 32_768;

// A backlog is of all owners, so what others are about to commit counts too. Where it is far from full that changes nothing; where it is
// near, servers count and accept one after the other. Gives the statement that waits for that.
function backlogLocks(writes: readonly SubmitWrite[], queued: readonly Queued[]): string | null {
  const waiting = queued.reduce((sum, { n }) => sum + n, 0);
  const byOperation = new Map(queued.map(({ operation, n }) => [operation, n]));
  const names = new Set<string>();
  for (const { submission, limits } of writes) {
    const operation = encodeName(submission.operation);
    if ((byOperation.get(operation) ?? 0) + NEAR >= limits.operationBacklog)
      names.add(`operation ${operation}`);
    if (waiting + NEAR >= limits.backlog) names.add("all");
  }
  if (names.size === 0) return null;
  return `SELECT pg_advisory_xact_lock(lock) FROM (SELECT DISTINCT hashtextextended('coatcheck backlog ' || current_schema() || name, 0) AS lock
    FROM unnest(${list([...names], "text")}) AS n(name) ORDER BY 1) l`;
}

interface Found {
  readonly job: Job;
  readonly fingerprint: string | null;
  readonly idFingerprint: string | null;
}

/** What a batch is judged by, as it stands after each of its submissions. */
class Known {
  readonly #active = new Map<string, number>();
  readonly #queued = new Map<string, number>();
  #waiting = 0;
  readonly #turns = new Map<string, number>();
  readonly #virtual = new Map<string, number>();
  readonly #rows: readonly number[];
  #next = 0;
  readonly #byKey = new Map<string, Found>();
  readonly #byAddress = new Map<string, Found>();
  readonly about = new Map<string, Operation>();

  constructor(read: Readonly<Record<string, unknown>> & { readonly policies: Policies }) {
    const of = <T>(name: string) => (read[name] ?? []) as readonly T[];
    type Line = {
      operation: string;
      priority: number;
      virtual: number;
      n: number;
      owner: string;
      last: number;
    };
    for (const { owner, active } of of<{ owner: string; active: number }>("locked"))
      this.#active.set(owner, active);
    for (const { operation, n } of of<Line>("queued")) {
      this.#queued.set(operation, n);
      this.#waiting += n;
    }
    // With nobody waiting there is nothing to be fair about: what owners had before counts no more.
    const long = new Set(
      of<Line>("lengths")
        .filter(({ n }) => n > 0)
        .map(({ operation, priority }) => at(operation, priority)),
    );
    for (const { operation, priority, owner, last } of of<Line>("turns"))
      if (long.has(at(operation, priority))) this.#turns.set(at(operation, priority, owner), last);
    for (const { operation, priority, virtual } of of<Line>("lines"))
      this.#virtual.set(at(operation, priority), virtual);
    for (const one of of<Operation & { operation: string }>("about")) this.about.set(one.operation, one);
    this.#rows = of<{ row: number }>("rows").map(({ row }) => row);
    const decode = (columns: Seen): Found => ({
      job: decodeJob(columns, read.policies.policy(columns.policy)),
      fingerprint: columns.fingerprint === null ? null : decodeDigest(columns.fingerprint),
      idFingerprint: columns.id_fingerprint === null ? null : decodeDigest(columns.id_fingerprint),
    });
    for (const one of of<Seen & { same_key: string; same_reach: number }>("same"))
      this.#byKey.set(`${one.same_reach} ${decodeDigest(one.same_key)}`, decode(one));
    for (const one of of<Seen>("taken")) this.#byAddress.set(decodeDigest(one.address), decode(one));
  }

  /** The job that a submission repeats, if it does. */
  same(write: SubmitWrite, moment: Moment): { readonly job: Job; readonly matches: boolean } | null {
    const { sameness } = write;
    if (sameness !== null) {
      const found = this.#byKey.get(`${reachOf(sameness.reach)} ${sameness.key}`);
      const isOver =
        found !== undefined &&
        (sameness.reach === "live"
          ? isSettled(found.job.status)
          : found.job.goneAt !== null && earlierNow(moment) >= keyEndsAt(found.job));
      if (found !== undefined && !isOver)
        return { job: found.job, matches: found.fingerprint === sameness.fingerprint };
    }
    const found = write.idFingerprint === null ? undefined : this.#byAddress.get(write.address);
    return found === undefined
      ? null
      : { job: found.job, matches: found.idFingerprint === write.idFingerprint };
  }

  refuses({
    submission,
    limits,
  }: SubmitWrite): "over-quota" | "operation-backlog-full" | "backlog-full" | null {
    const active = this.#active.get(encodeName(submission.owner)) ?? 0;
    if (limits.active !== null && active >= limits.active) return "over-quota";
    if ((this.#queued.get(encodeName(submission.operation)) ?? 0) >= limits.operationBacklog)
      return "operation-backlog-full";
    return this.#waiting >= limits.backlog ? "backlog-full" : null;
  }

  next({ submission }: SubmitWrite): { readonly row: number; readonly turn: number } {
    const { priority, weight } = submission.policy;
    const operation = encodeName(submission.operation);
    const virtual = this.#virtual.get(at(operation, priority)) ?? 0;
    const last = this.#turns.get(at(operation, priority, encodeName(submission.owner))) ?? 0;
    return { row: this.#rows[this.#next++] as number, turn: Math.max(virtual, last) + 1 / weight };
  }

  accepted({ job, address, fingerprint, idFingerprint }: StoredJob, { sameness }: SubmitWrite): void {
    const [owner, operation] = [encodeName(job.owner), encodeName(job.operation)];
    this.#active.set(owner, (this.#active.get(owner) ?? 0) + 1);
    this.#queued.set(operation, (this.#queued.get(operation) ?? 0) + 1);
    this.#waiting++;
    this.#turns.set(at(operation, job.policy.priority, owner), job.turn);
    const found = { job, fingerprint, idFingerprint };
    if (sameness !== null) this.#byKey.set(`${reachOf(sameness.reach)} ${sameness.key}`, found);
    this.#byAddress.set(address, found);
  }
}

function at(...parts: readonly (string | number)[]): string {
  return parts.join("\0");
}

function keepNames(
  changes: Changes,
  named: readonly { readonly sameness: Sameness; readonly row: number }[],
): void {
  if (named.length === 0) return;
  // A key that was over within this very batch is named by the last.
  const last = new Map(named.map((one) => [`${one.sameness.reach} ${one.sameness.key}`, one]));
  const sorted = [...last.values()].sort((a, b) => (a.sameness.key < b.sameness.key ? -1 : 1));
  changes.name(
    `INSERT INTO sameness (key, reach, row) SELECT * FROM ${table([
      ["key", "uuid", sorted.map(({ sameness }) => sameness.key)],
      ["reach", "smallint", sorted.map(({ sameness }) => reachOf(sameness.reach))],
      ["row", "bigint", sorted.map(({ row }) => row)],
    ])} ON CONFLICT (key, reach) DO UPDATE SET row = excluded.row;`,
  );
}
