// Keeping order: lapsed leases are rescued, what is over expires, tombstones end.

import { isSettled, type Job } from "../../core/job.ts";
import { decide, earlierNow, isOverrun, type Moment } from "../../core/machine.ts";
import { TOMBSTONE_MS } from "../embedded/roster.ts";
import type { Digest, SweepWrite, Written } from "../store.ts";
import type { Calls } from "./calls.ts";
import { type Change, lookAt } from "./change.ts";
import { happeningOf, memberOf } from "./codec.ts";
import type { Held } from "./held.ts";
import type { Found } from "./look.ts";

/** What lapsed and may not be rescued is looked at again after this. */
const AGAIN_MS = 1000;

export interface SweepStep {
  readonly change: Change;
  done(): void;
  stale(): void;
}

export class Sweep {
  readonly #indexes: number[] = [];
  readonly #gone: Digest[] = [];
  readonly #later: string[][] = [];
  /** Of several sweeps in one batch the first one's. */
  limit = 0;
  #changed = 0;
  #isMore = false;

  add(index: number, { limit }: SweepWrite): void {
    if (this.#indexes.length === 0) this.limit = limit;
    this.#indexes.push(index);
  }

  decide(
    lapsed: readonly (Found | null)[],
    ended: readonly (Found | null)[],
    held: Held,
    moment: Moment,
    token: () => string,
  ): SweepStep[] {
    const steps: SweepStep[] = [];
    this.#isMore = lapsed.length === this.limit || ended.length === this.limit;
    const add = (before: Found, after: Job | null, events: Change["events"], gone: boolean) => {
      const done = () => {
        held.keep(change);
        this.#changed++;
        if (gone) this.#gone.push(before.stored.address);
      };
      const change = { before, after, token: token(), events };
      // Somebody else was quicker.
      const stale = () => held.forget(before.stored.job.row);
      steps.push({ change, done, stale });
    };
    for (const found of lapsed) {
      if (found !== null && steps.length < this.limit) this.#rescue(found, held, moment, add);
    }
    for (const found of ended) {
      if (found !== null && steps.length < this.limit) this.#endOf(found, moment, add);
    }
    return steps;
  }

  /** Rows that are not due by their own telling are looked at later. */
  async putOff(calls: Calls): Promise<void> {
    for (const [key, score, member] of this.#later.splice(0))
      await calls.command("ZADD", calls.key(key as string), "XX", score as string, member as string);
  }

  answer(written: Written[]): void {
    const [first, ...others] = this.#indexes;
    const more = this.#isMore || this.#changed >= this.limit;
    if (first !== undefined)
      written[first] = { did: "sweep", changed: this.#changed, gone: this.#gone, more };
    for (const index of others) written[index] = { did: "sweep", changed: 0, gone: [], more };
  }

  #rescue(found: Found, held: Held, moment: Moment, add: Add): void {
    const { job } = found.stored;
    // A lease that is held here lapses for nobody here.
    const isLeased = held.holds(job) && !isDone(job, moment);
    const decision = isLeased ? null : decide(job, { do: "reclaim" }, moment);
    if (decision === null || "refused" in decision) {
      this.#put("leases", job, Math.max(lookAt(job), moment.now + AGAIN_MS));
      return;
    }
    const after = decision.job;
    add(
      found,
      after,
      decision.events.map((kind) => happeningOf(kind, after)),
      false,
    );
  }

  #endOf(found: Found, moment: Moment, add: Add): void {
    const { job } = found.stored;
    const steadyNow = earlierNow(moment);
    const later = (at: number) => this.#put("ends", job, moment.now + Math.max(AGAIN_MS, at - steadyNow));
    if (job.goneAt !== null) {
      if (job.goneAt + TOMBSTONE_MS > steadyNow) later(job.goneAt + TOMBSTONE_MS);
      else add(found, null, [], false);
      return;
    }
    const decision = decide(job, { do: isSettled(job.status) ? "expire" : "reclaim" }, moment);
    if ("refused" in decision) {
      later(job.expiresAt ?? job.startBy ?? steadyNow);
      return;
    }
    const after = decision.job;
    const events = decision.events.map((kind) => happeningOf(kind, after));
    add(found, after, events, after.goneAt !== null);
  }

  #put(key: string, { row }: Job, at: number): void {
    this.#later.push([key, String(at), memberOf(row)]);
  }
}

type Add = (before: Found, after: Job | null, events: Change["events"], gone: boolean) => void;

// An attempt that nothing may keep alive: its time, or the grace after a cancel, is over.
function isDone(job: Job, moment: Moment): boolean {
  return (
    isOverrun(job, moment) ||
    (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= moment.now)
  );
}
