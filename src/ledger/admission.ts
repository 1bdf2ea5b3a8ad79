// The judgement around the write. The rate comes before it; what is beyond it may still be a repeat, which is looked up.
// Quota and backlog are counted by the store inside the transaction that accepts, where the count can't be out of date;
// there a deadline that can't be kept is refused last.

import type { Caller, RateState, Refused, SubmitRequest } from "../core/jobs.ts";
import type { Operation } from "../core/operation.ts";
import { type ProblemName, problem } from "../core/problem.ts";
import { type Bucket, type RatePolicy, type Taken, take } from "../protocol/rate-limit.ts";
import type { SubmitRefusal } from "../store/store.ts";

/** Owners whose rate is remembered; past it the one known for longest is forgotten, and starts with a whole quota. */
const MOST_OWNERS = 100_000;

export interface Rates {
  /** Takes one submission of the owner's rate. */
  take(caller: Caller): Judged;
  /**
   * Whether a submission beyond the rate may be looked up, as it may be a repeat. There are as many such look-ups as the
   * rate has submissions, so that a storm of repeats is bounded too.
   */
  mayLookUp(caller: Caller): boolean;
}

interface Judged {
  readonly rate: RateState | null;
  /** Until it would be allowed; null where it is. */
  readonly retryAfterSeconds: number | null;
}

/** Counts submissions per owner, in this process. */
export function createRates(now: () => number): Rates {
  const submitted = createBuckets(now);
  const lookedUp = createBuckets(now);
  return {
    take(caller) {
      const { rate } = caller.tier;
      if (rate === null) return UNLIMITED;
      const policy = { name: caller.tier.name, ...rate };
      const { remaining, resetSeconds, allowed, retryAfterSeconds } = submitted(caller.owner, policy);
      return {
        rate: { ...policy, remaining, resetSeconds },
        retryAfterSeconds: allowed ? null : retryAfterSeconds,
      };
    },
    mayLookUp: ({ owner, tier }) =>
      tier.rate === null || lookedUp(owner, { name: tier.name, ...tier.rate }).allowed,
  };
}

/** A bucket for each owner, to be taken from by one. */
function createBuckets(now: () => number): (owner: string, policy: RatePolicy) => Taken {
  const buckets = new Map<string, Bucket>();
  return (owner, policy) => {
    const taken = take(buckets.get(owner), policy, now());
    buckets.set(owner, taken.bucket);
    if (buckets.size > MOST_OWNERS) {
      for (const oldest of buckets.keys()) {
        buckets.delete(oldest);
        break;
      }
    }
    return taken;
  };
}

const UNLIMITED: Judged = { rate: null, retryAfterSeconds: null };

export function refuse(
  name: ProblemName,
  detail: string | undefined,
  retryAfterSeconds: number | null,
  rate: RateState | null,
): Refused {
  return { refused: problem(name, detail), retryAfterSeconds, rate };
}

/** What a refusal of the store says to the caller. */
export function refusalOf(
  refusal: SubmitRefusal,
  caller: Caller,
  operation: Operation,
  roomSeconds: number,
  rate: RateState | null,
): Refused {
  switch (refusal) {
    case "key-reused":
      return refuse("idempotency-key-reused", undefined, null, rate);
    case "over-quota":
      return refuse(
        "over-quota",
        `The tier "${caller.tier.name}" allows ${caller.tier.active} queued and processing jobs.`,
        roomSeconds,
        rate,
      );
    case "operation-backlog-full":
      return refuse("backlog-full", `The backlog of ${operation.name} is full.`, roomSeconds, rate);
    case "backlog-full":
      return refuse("backlog-full", "The backlog of the server is full.", roomSeconds, rate);
  }
}

/** How long the caller gives the job to start; null for ever. */
export function startWithinMs(request: SubmitRequest, operation: Operation): number | null {
  return request.startWithinMs ?? operation.startWithinMs;
}
