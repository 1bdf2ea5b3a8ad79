// A batch of claims, heartbeats, settles, cancels and sweeps. It goes round: what is known is decided on and written where it is
// still so; what another process changed meanwhile is read and decided on again; what was taken out of the line is begun.
//
//   claims ──► one call: take jobs ──┐
//   settles, heartbeats, cancels ────┴──► decide ──► one call: write, where all is still so
//        ▲                                                │
//        └──────────── read again what was not ◄──────────┘
//
// A claim takes before it decides, so no two workers decide on one job; what it took and never began can be taken again. To take
// costs no sync, so a batch costs one.

import { type Durations, mergeDurations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import { decide, earlierNow, isDue, MAX_CRASHES, type Moment, missedStart } from "../../core/machine.ts";
import type {
  CancelWrite,
  ClaimWrite,
  HeartbeatWrite,
  LearnWrite,
  SettleWrite,
  SweepWrite,
  Written,
} from "../store.ts";
import { StoreUnavailable } from "../store.ts";
import type { Calls } from "./calls.ts";
import { type Change, encodeChange, groupOf } from "./change.ts";
import { type Claim, encodeClaim } from "./claim.ts";
import { type Fields, happeningOf, Names, numbered, stampOf } from "./codec.ts";
import type { Held } from "./held.ts";
import { decodeAll, type Found, findMembers, membersOf, seeAddresses, seeMembers } from "./look.ts";
import { decideRow, type RowWrite } from "./row.ts";
import { Sweep } from "./sweep.ts";
import { TAKE } from "./take-script.ts";
import { WORK } from "./work-script.ts";

export type WorkWrite = ClaimWrite | HeartbeatWrite | SettleWrite | CancelWrite | SweepWrite | LearnWrite;

export interface Worked {
  /** In the order of the writes. */
  readonly written: readonly Written[];
  readonly events: readonly Event[];
}

/** Changes of one call: it holds up everybody else for some milliseconds. */
const MOST_CHANGES = 500;

/** Past this many rounds somebody changes the same jobs without end. */
const MOST_ROUNDS = 50;

/** Events are kept as long as anyone may resume from them. */
const EVENTS_MS = 24 * 3600 * 1000;

/** The writes of one row, in their order. */
interface Row {
  readonly writes: (readonly [index: number, write: RowWrite])[];
  /** As it is known; null where there is none. */
  found: Found | null;
  /** It was read for this round, rather than remembered. */
  isFresh: boolean;
}

/** A change under way, and what becomes of it. */
interface Step {
  readonly change: Change;
  done(): void;
  stale(): void;
}

type RawJob = readonly [string, string, string, (string | null)?, (string | null)?, (string | null)?];
type RawClaim = readonly [drain: number, isMore: number, jobs: readonly RawJob[]];

export async function workAll(
  calls: Calls,
  held: Held,
  lane: string,
  writes: readonly WorkWrite[],
  moment: () => Moment,
): Promise<Worked> {
  return await new Work(calls, held, lane, moment).run(writes);
}

class Work {
  readonly #calls: Calls;
  readonly #held: Held;
  readonly #lane: string;
  readonly #moment: () => Moment;
  readonly #written: Written[] = [];
  readonly #events: Event[] = [];
  /** To be decided on in this round. */
  #rows = new Map<number, Row>();
  #claims: Claim[] = [];
  #learns: (readonly [index: number, write: LearnWrite])[] = [];
  #sweep: Sweep | null = null;
  #steps: Step[] = [];

  constructor(calls: Calls, held: Held, lane: string, moment: () => Moment) {
    this.#calls = calls;
    this.#held = held;
    this.#lane = lane;
    this.#moment = moment;
  }

  async run(writes: readonly WorkWrite[]): Promise<Worked> {
    await this.#sort(writes);
    for (let round = 0; round < MOST_ROUNDS; round++) {
      await this.#take(round === 0);
      this.#decideRows();
      const isIdle = this.#steps.length === 0 && this.#learns.length === 0 && this.#rows.size === 0;
      if (isIdle && !this.#claims.some(({ isOpen }) => isOpen)) return this.#end();
      while (this.#steps.length > 0 || this.#learns.length > 0) {
        const learnsBefore = this.#learns.length;
        await this.#write();
        if (this.#learns.length > 0 && this.#learns.length === learnsBefore) break;
      }
      await this.#readUnknown();
      await this.#readDurations();
    }
    throw new StoreUnavailable("Others change the same jobs without end.");
  }

  // What claims take, and what a sweep looks at.
  async #take(isFirst: boolean): Promise<void> {
    const claims = this.#claims.filter(({ isOpen }) => isOpen);
    const sweep = isFirst ? this.#sweep : null;
    if (claims.length === 0 && sweep === null) return;
    const moment = this.#moment();
    const reply = await this.#calls.read(TAKE, [
      String(moment.now),
      sweep === null ? "" : String(sweep.limit),
      String(earlierNow(moment) - EVENTS_MS),
      String(MAX_CRASHES - 1),
      String(claims.length),
      ...claims.flatMap(encodeClaim),
    ]);
    const [lapsed, ended, nextAt, taken] = reply as [RawJob[], RawJob[], string, RawClaim[]];
    if (sweep !== null) await this.#decideSweep(sweep, lapsed, ended, moment);
    await this.#decideClaims(claims, taken, nextAt, moment);
  }

  #end(): Worked {
    for (const { index, jobs, drain, nextAt } of this.#claims)
      this.#written[index] = { did: "claim", jobs, drain, nextAt };
    this.#sweep?.answer(this.#written);
    return { written: this.#written, events: this.#events };
  }

  async #sort(writes: readonly WorkWrite[]): Promise<void> {
    const cancels: (readonly [number, CancelWrite])[] = [];
    for (const [index, write] of writes.entries()) if (write.do === "cancel") cancels.push([index, write]);
    const seen = await seeAddresses(
      this.#calls,
      cancels.map(([, { address }]) => address),
      this.#moment(),
    );
    const byIndex = new Map(cancels.map(([index], at) => [index, seen[at] ?? null]));
    for (const [index, write] of writes.entries()) {
      if (write.do === "claim")
        this.#claims.push({ index, write, jobs: [], drain: false, nextAt: null, isOpen: true });
      else if (write.do === "learn") this.#learns.push([index, write]);
      else if (write.do === "sweep") {
        this.#sweep ??= new Sweep();
        this.#sweep.add(index, write);
      } else if (write.do === "cancel") {
        const found = byIndex.get(index) ?? null;
        if (found === null) this.#written[index] = { refused: "not-found" };
        else this.#add(index, write, found.stored.job.row, found);
      } else this.#add(index, write, write.row, null);
    }
    await this.#readUnknown();
    await this.#readDurations();
  }

  #add(index: number, write: RowWrite, row: number, found: Found | null): void {
    const there = this.#rows.get(row);
    if (there === undefined) {
      const remembered = found ?? this.#held.get(row);
      this.#rows.set(row, { writes: [[index, write]], found: remembered, isFresh: found !== null });
      return;
    }
    there.writes.push([index, write]);
    if (found === null) return;
    there.found = found;
    there.isFresh = true;
  }

  // Decides all that is asked of each row, one upon the other: they become one change.
  #decideRows(): void {
    const moment = this.#moment();
    for (const [number, row] of this.#rows) {
      const { found } = row;
      if (found === null) {
        for (const [index] of row.writes) this.#written[index] = { refused: "lease-lost" };
        this.#rows.delete(number);
        continue;
      }
      const decided = decideRow(
        row.writes.map(([, write]) => write),
        found.stored.job,
        moment,
      );
      // What is remembered may be another attempt by now: only what was just read is refused.
      if (decided.isRefused && !row.isFresh) {
        row.found = null;
        continue;
      }
      this.#rows.delete(number);
      const answer = () => {
        for (const [at, [index]] of row.writes.entries())
          this.#written[index] = decided.written[at] as Written;
      };
      if (decided.job === found.stored.job) {
        answer();
        continue;
      }
      const change = {
        before: found,
        after: decided.job,
        token: this.#calls.token(),
        events: decided.events,
      };
      this.#steps.push({
        change,
        done: () => {
          this.#held.keep(change);
          answer();
        },
        stale: () => {
          this.#held.forget(number);
          this.#rows.set(number, { writes: row.writes, found: null, isFresh: false });
        },
      });
    }
  }

  // One call: as many changes as it may have, and what was learned with the last.
  async #write(): Promise<void> {
    const steps = this.#steps.splice(0, MOST_CHANGES);
    const learns = this.#steps.length === 0 ? this.#learns : [];
    const moment = this.#moment();
    const [names, groups] = [new Names(), new Names()];
    const changes: string[] = [];
    for (const { change } of steps)
      changes.push(...encodeChange(change, groups.number(groupOf(change)), names, moment));
    const merged = learns.map(([, write]) => [write.operation, ...this.#merge(write)]);
    const reply = await this.#calls.numbered(WORK, this.#lane, [
      stampOf(moment),
      JSON.stringify(names.all),
      String(groups.all.length),
      ...groups.all.flatMap((group) => JSON.parse(group) as string[]),
      String(steps.length),
      ...changes,
      String(learns.length),
      ...merged.flat(),
    ]);
    // Done by an earlier sending whose answer was lost: what it said was kept.
    const isLost = reply[0] === "done";
    const said = isLost ? String(reply[1]).split(" ") : [String(reply[1]), String(reply[2])];
    this.#settleSteps(steps, Number(said[0]), said[1] ?? "");
    this.#settleLearns(learns, isLost ? learns.map(() => 1) : (reply[3] as number[]));
  }

  #settleSteps(steps: readonly Step[], first: number, text: string): void {
    const stale = new Set(text === "" ? [] : text.split(",").map(Number));
    let seq = first;
    for (const [index, step] of steps.entries()) {
      if (stale.has(index)) {
        step.stale();
        continue;
      }
      for (const event of step.change.events) this.#events.push(numbered(event, seq++));
      step.done();
    }
  }

  async #decideClaims(
    claims: readonly Claim[],
    raw: readonly RawClaim[],
    nextAt: string,
    moment: Moment,
  ): Promise<void> {
    for (const [at, claim] of claims.entries()) {
      const [drain, isMore, jobs] = raw[at] as RawClaim;
      claim.drain = drain === 1;
      claim.isOpen = false;
      claim.nextAt = isMore === 1 ? moment.now : nextAt === "" ? null : Number(nextAt);
      const fields = jobs.map(
        ([member, r, s, i = null, u = null, c = null]): Fields => ({ member, r, s, i, u, c }),
      );
      for (const found of await decodeAll(this.#calls, fields))
        if (found !== null) this.#begin(claim, found, moment);
    }
  }

  // Begins the next attempt of a job that was taken, or settles why it can't; then the claim takes another one.
  #begin(claim: Claim, found: Found, moment: Moment): void {
    const { job } = found.stored;
    const reopen = () => {
      claim.isOpen = true;
      if (claim.jobs.length === 0) claim.drain = false;
    };
    const token = this.#calls.token();
    if (!isDue(job, moment.now)) {
      const change = { before: found, after: job, token, events: [] };
      this.#steps.push({ change, done: reopen, stale: reopen });
      return;
    }
    const isLate = missedStart(job, moment.now);
    const decision = isLate
      ? decide(job, { do: "reclaim" }, moment)
      : decide(job, { do: "claim", worker: claim.write.worker }, moment);
    if ("refused" in decision) {
      // It was changed between two calls, which took it out of the line as well.
      reopen();
      return;
    }
    const after = decision.job;
    const events = decision.events.map((kind) => happeningOf(kind, after));
    const change: Change = { before: found, after, token, events };
    const done = () => {
      if (isLate) return reopen();
      this.#held.keep(change, claim.write.held);
      claim.jobs.push(after);
    };
    this.#steps.push({ change, done, stale: reopen });
  }

  async #decideSweep(
    sweep: Sweep,
    lapsed: readonly RawJob[],
    ended: readonly RawJob[],
    moment: Moment,
  ): Promise<void> {
    const fields = (raw: readonly RawJob[]) =>
      raw.map(([member, r, s]): Fields | null => (r === null ? null : { member, r, s }));
    const running = await decodeAll(this.#calls, fields(lapsed));
    const others = await decodeAll(this.#calls, fields(ended));
    const steps = sweep.decide(running, others, this.#held, moment, () => this.#calls.token());
    this.#steps.push(...steps);
    await sweep.putOff(this.#calls);
  }

  async #readUnknown(): Promise<void> {
    const unknown = [...this.#rows].filter(([, { found }]) => found === null);
    if (unknown.length === 0) return;
    // Who cancels is answered with the job, whole.
    const isCancel = ([, { writes }]: (typeof unknown)[number]) =>
      writes.some(([, { do: verb }]) => verb === "cancel");
    const rowsOf = (some: typeof unknown) => membersOf(some.map(([row]) => row));
    const found = await Promise.all([
      findMembers(this.#calls, rowsOf(unknown.filter((one) => !isCancel(one)))),
      seeMembers(this.#calls, rowsOf(unknown.filter(isCancel)), this.#moment()),
    ]);
    const byRow = new Map(found.flat().flatMap((one) => (one === null ? [] : [[one.stored.job.row, one]])));
    for (const [number, row] of unknown) {
      row.found = byRow.get(number) ?? null;
      row.isFresh = true;
    }
  }

  /** What is known of the operations that something was learned of, as text. */
  #durations = new Map<string, string>();

  async #readDurations(): Promise<void> {
    if (this.#learns.length === 0) return;
    const operations = [...new Set(this.#learns.map(([, { operation }]) => operation))];
    const texts = await this.#calls.command("HMGET", this.#calls.key("durations"), ...operations);
    for (const [at, text] of (texts as (string | null)[]).entries())
      this.#durations.set(operations[at] as string, text ?? "");
  }

  #merge({ operation, durations }: LearnWrite): readonly [before: string, after: string] {
    const before = this.#durations.get(operation) ?? "";
    const merged = before === "" ? durations : mergeDurations(JSON.parse(before) as Durations, durations);
    const after = JSON.stringify(merged);
    // Two of one operation in a batch: one upon the other.
    this.#durations.set(operation, after);
    return [before, after];
  }

  #settleLearns(learns: readonly (readonly [number, LearnWrite])[], learned: readonly number[]): void {
    this.#learns = learns.filter((_, at) => learned[at] !== 1);
    for (const [at, [index]] of learns.entries())
      if (learned[at] === 1) this.#written[index] = { did: "nothing" };
  }
}
