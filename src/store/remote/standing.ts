// Claims that found nothing and wait. What the feed tells has them tried again: there is no queue of waiting workers in
// the engine, and no connection is held for them.

import type { Event } from "../../core/event.ts";
import type { ClaimWrite, Written } from "../store.ts";
import { StoreUnavailable } from "../store.ts";

type Claimed = Extract<Written, { did: "claim" }>;

interface Waiting {
  readonly claim: ClaimWrite;
  until: number;
  /** When it is worth another try whatever is heard: a job comes due, or nobody may have told of something. */
  nextAt: number;
  isTrying: boolean;
  /** New work was heard of while it was being tried. */
  isStale: boolean;
  readonly resolve: (claimed: Claimed) => void;
  readonly reject: (error: unknown) => void;
}

/** However quiet the feed is, a waiting claim is tried this often: a pause that ended elsewhere is no event. */
const QUIET_MS = 1000;

/** The end of any job may let its owner's next one run; many ends are one reason to look. */
const AFTER_END_MS = 50;

export class Standing {
  readonly #try: (claim: ClaimWrite) => Promise<Claimed>;
  readonly #now: () => number;
  readonly #waiting = new Set<Waiting>();

  constructor(attempt: (claim: ClaimWrite) => Promise<Claimed>, now: () => number) {
    this.#try = attempt;
    this.#now = now;
  }

  /** Answers as soon as there is work, and with nothing when its time is up. */
  claim(claim: ClaimWrite): Promise<Claimed> {
    return new Promise((resolve, reject) => {
      const until = this.#now() + (claim.waitMs ?? 0);
      const one: Waiting = { claim, until, nextAt: 0, isTrying: false, isStale: false, resolve, reject };
      this.#waiting.add(one);
      void this.#attempt(one);
    });
  }

  withdraw(worker: string): void {
    for (const one of this.#waiting) if (one.claim.worker === worker) this.#end(one);
  }

  /** What was committed may be work. */
  hear(events: readonly Event[]): void {
    if (this.#waiting.size === 0) return;
    const fresh = new Set<string>();
    let hasEnded = false;
    for (const { kind, operation } of events) {
      if (kind === "queued" || kind === "retrying") fresh.add(operation);
      else if (kind === "completed" || kind === "failed" || kind === "canceled") hasEnded = true;
    }
    for (const operation of fresh) this.retry(operation);
    if (!hasEnded) return;
    const soon = this.#now() + AFTER_END_MS;
    for (const one of this.#waiting) one.nextAt = Math.min(one.nextAt, soon);
  }

  /** Tries those again that could take work of this operation. */
  retry(operation: string): void {
    for (const one of this.#waiting) {
      if ((one.claim.slots[operation] ?? 0) < 1) continue;
      if (one.isTrying) one.isStale = true;
      else void this.#attempt(one);
    }
  }

  /** Called every so often: ends those whose time is up, and tries those whose time has come. */
  look(): void {
    const now = this.#now();
    for (const one of this.#waiting) {
      if (one.isTrying) continue;
      if (one.until <= now) this.#end(one);
      else if (one.nextAt <= now) void this.#attempt(one);
    }
  }

  close(): void {
    for (const one of this.#waiting) this.#end(one);
  }

  #end(one: Waiting): void {
    one.until = Number.NEGATIVE_INFINITY;
    // One that is being tried may have work by now: it is answered with what the try brings.
    if (!one.isTrying) this.#answer(one, NOTHING_CLAIMED);
  }

  #answer(one: Waiting, claimed: Claimed): void {
    this.#waiting.delete(one);
    one.resolve(claimed);
  }

  async #attempt(one: Waiting): Promise<void> {
    one.isTrying = true;
    try {
      do {
        one.isStale = false;
        const claimed = await this.#try(one.claim);
        const now = this.#now();
        const isDueNow = claimed.nextAt !== null && claimed.nextAt <= now;
        if (claimed.jobs.length > 0 || claimed.drain || isDueNow || one.until <= now) {
          this.#answer(one, claimed);
          return;
        }
        one.nextAt = Math.min(claimed.nextAt ?? Number.POSITIVE_INFINITY, now + QUIET_MS);
      } while (one.isStale);
    } catch (error) {
      this.#waiting.delete(one);
      // Where the store is closed under a claim that waits, there is simply no work.
      if (error instanceof StoreUnavailable && one.until === Number.NEGATIVE_INFINITY)
        one.resolve(NOTHING_CLAIMED);
      else one.reject(error);
    } finally {
      one.isTrying = false;
    }
  }
}

const NOTHING_CLAIMED: Claimed = { did: "claim", jobs: [], drain: false, nextAt: null };
