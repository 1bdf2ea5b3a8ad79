// Claims that wait for work. They are tried again at the end of each batch, inside its transaction: so a job that finds
// a free worker is accepted and begun by one commit.

import type { Moment } from "../../core/machine.ts";
import type { ClaimWrite, Write, Written } from "../store.ts";
import { apply } from "./apply.ts";
import type { Book } from "./book.ts";

interface Waiting {
  readonly claim: ClaimWrite;
  readonly until: number;
}

/** A claim's number, and what it is answered with at last. */
export type Late = readonly [number: number, written: Written];

export class Standing {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  get size(): number {
    return this.#waiting.size;
  }

  /** Whether a write is a claim that would wait rather than be answered like this. */
  waits(write: Write, written: Written, now: number): boolean {
    return (
      write.do === "claim" &&
      (write.waitMs ?? 0) > 0 &&
      "did" in written &&
      written.did === "claim" &&
      written.jobs.length === 0 &&
      !written.drain &&
      // There is more to look through than one claim may.
      (written.nextAt === null || written.nextAt > now)
    );
  }

  /** Takes a claim in, once its batch is durable; gives its number. */
  add(claim: ClaimWrite, now: number): number {
    const number = this.#next++;
    this.#waiting.set(number, { claim, until: now + (claim.waitMs ?? 0) });
    return number;
  }

  /** Tries all of them; part of a batch. They go on waiting until `answered` says that the batch is durable. */
  serve(book: Book, moment: Moment): readonly Late[] {
    if (this.#waiting.size === 0) return NONE;
    const served: Late[] = [];
    for (const [number, { claim }] of this.#waiting) {
      const written = apply(book, claim, moment);
      if (!this.waits(claim, written, moment.now)) served.push([number, written]);
    }
    return served;
  }

  answered(late: readonly Late[]): void {
    for (const [number] of late) this.#waiting.delete(number);
  }

  /** Ends those whose time is up, and those of a worker that wants no more. */
  end(now: number, worker: string | null = null): readonly Late[] {
    const ended: Late[] = [];
    for (const [number, { claim, until }] of this.#waiting) {
      if (until <= now || claim.worker === worker) ended.push([number, NOTHING_CLAIMED]);
    }
    this.answered(ended);
    return ended;
  }
}

const NONE: readonly Late[] = [];
const NOTHING_CLAIMED: Written = { did: "claim", jobs: [], drain: false, nextAt: null };
