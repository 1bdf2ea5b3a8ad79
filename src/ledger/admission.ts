// The judgement around the write. The rate comes before it. Quota and backlog are counted by the store inside the
// transaction that accepts, where the count can't be out of date; there a deadline that can't be kept is refused last.

import type { Caller, RateState, Refused, SubmitRequest } from "../core/jobs.ts";
import type { Operation } from "../core/operation.ts";
import { type ProblemName, problem } from "../core/problem.ts";
import { type Bucket, take } from "../protocol/rate-limit.ts";
import type { SubmitRefusal } from "../store/store.ts";

/** Owners whose rate is remembered; past it the one known for longest is forgotten, and starts with a whole quota. */
const MOST_OWNERS = 100_000;

export interface Rates {
  /** Takes one submission of the owner's rate. */
  take(caller: Caller): Judged;
  /** What `take` would judge now, and what is left; nothing is taken. */
  look(caller: Caller): Judged;
}

interface Judged {
  readonly rate: RateState | null;
  /** Until it would be allowed; null where it is. */
  readonly retryAfterSeconds: number | null;
}

/** Counts submissions per owner, in this process. */
export function createRates(now: () => number): Rates {
  const buckets = new Map<string, Bucket>();
  return {
    look({ owner, tier }) {
      if (tier.rate === null) return UNLIMITED;
      const policy = { name: tier.name, ...tier.rate };
      const bucket = buckets.get(owner);
      const { remaining, resetSeconds } = take(bucket, policy, now(), 0);
      const { allowed, retryAfterSeconds } = take(bucket, policy, now());
      return {
        rate: { ...policy, remaining, resetSeconds },
        retryAfterSeconds: allowed ? null : retryAfterSeconds,
      };
    },
    take({ owner, tier }) {
      if (tier.rate === null) return UNLIMITED;
      const policy = { name: tier.name, ...tier.rate };
      const taken = take(buckets.get(owner), policy, now());
      buckets.set(owner, taken.bucket);
      if (buckets.size > MOST_OWNERS) {
        for (const oldest of buckets.keys()) {
          buckets.delete(oldest);
          break;
        }
      }
      const { remaining, resetSeconds, allowed, retryAfterSeconds } = taken;
      return {
        rate: { ...policy, remaining, resetSeconds },
        retryAfterSeconds: allowed ? null : retryAfterSeconds,
      };
    },
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
