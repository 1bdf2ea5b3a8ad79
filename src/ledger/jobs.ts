// The caller's side of the ledger: `Jobs` over a store.

import { isSettled, type Policy } from "../core/job.ts";
import type { Caller, Jobs, RateState, Refused, SubmitRequest, View } from "../core/jobs.ts";
import type { Operation } from "../core/operation.ts";
import type { Operations } from "../core/operations.ts";
import { problem } from "../core/problem.ts";
import type { Sameness, Sight, Store } from "../store/store.ts";
import { createRates, refusalOf, refuse, startWithinMs } from "./admission.ts";
import { addressOf, contentDigest, createId, keyDigest } from "./digest.ts";
import type { Estimates } from "./estimates.ts";
import { endsJob, type Feed } from "./feed.ts";

export interface JobsParts {
  readonly store: Store;
  readonly operations: Operations;
  readonly estimates: Estimates;
  readonly feed: Feed;
  readonly now: () => number;
  /** Most waiting jobs of the whole store. */
  readonly backlog: number;
}

export function createJobs({ store, operations, estimates, feed, now, backlog }: JobsParts): Jobs {
  const rates = createRates(now);
  const policies = createPolicies();

  const operationOf = (name: string): Operation => {
    const ready = operations.get(name);
    if (ready === undefined) throw new TypeError(`There is no operation "${name}".`);
    return ready.operation;
  };

  const outlookOf = (caller: Caller, operation: Operation, { priority, weight }: Policy) =>
    store.read({ get: "outlook", owner: caller.owner, operation: operation.name, priority, weight });

  /** By how many seconds a start within `withinMs` can't be kept; null where it can. */
  const late = async (
    caller: Caller,
    operation: Operation,
    policy: Policy,
    delayMs: number,
    withinMs: number,
  ): Promise<number | null> => {
    const { position } = await outlookOf(caller, operation, policy);
    const { waitMs } = estimates.outlook(operation.name, position, delayMs);
    // A deadline that has passed can't be kept, however free the workers are.
    return waitMs > withinMs || withinMs <= 0 ? Math.max(1, Math.ceil((waitMs - withinMs) / 1000)) : null;
  };

  /** Judges a submission, and accepts it where nothing is against it and `accepts`; else a new one has no sight. */
  const judge = async (
    caller: Caller,
    request: SubmitRequest,
    accepts: boolean,
  ): Promise<Judged | Refused> => {
    const operation = operationOf(request.operation);
    const sameness = samenessOf(caller, operation, request);
    const { rate, retryAfterSeconds } = rates.take(caller);
    const isTooFast = retryAfterSeconds !== null;
    // What was accepted before is no less accepted for being repeated too fast, or too late.
    if (isTooFast && ((sameness === null && !request.idFromCaller) || !rates.mayLookUp(caller))) {
      return refuse("rate-limited", undefined, retryAfterSeconds, rate);
    }
    const policy = policies(operation, caller, request);
    const withinMs = startWithinMs(request, operation);
    // What needs the outlook is asked only where a deadline wants it.
    const lateSeconds =
      withinMs === null || isTooFast
        ? null
        : await late(caller, operation, policy, request.delayMs, withinMs);
    const id = request.id ?? createId();
    const written = await store.write({
      do: "submit",
      submission: {
        id,
        owner: caller.owner,
        operation: operation.name,
        policy,
        input: request.input,
        upload: request.upload,
        trace: request.trace,
        delayMs: request.delayMs,
        startWithinMs: withinMs,
      },
      sameness,
      address: addressOf(caller.owner, id),
      idFingerprint: request.idFromCaller ? request.fingerprint : null,
      limits: { active: caller.tier.active, operationBacklog: operation.backlog, backlog },
      onlyRepeat: !accepts || isTooFast || lateSeconds !== null,
    });
    if ("did" in written) return { policy, rate, sight: written };
    const { refused } = written;
    if (refused === "key-reused") return refusalOf(refused, caller, operation, 0, rate);
    if (isTooFast) return refuse("rate-limited", undefined, retryAfterSeconds, rate);
    if (refused === "over-quota" || refused === "operation-backlog-full" || refused === "backlog-full") {
      return refusalOf(refused, caller, operation, estimates.roomSeconds(operation.name), rate);
    }
    if (refused !== "not-found") throw new Error(`A submission was refused as ${refused}.`);
    if (lateSeconds === null) return { policy, rate, sight: null };
    return refuse("deadline-unattainable", undefined, lateSeconds, rate);
  };

  return {
    createId,
    address: addressOf,

    async submit(caller, request) {
      const judged = await judge(caller, request, true);
      if ("refused" in judged) return judged;
      const { sight, rate } = judged;
      if (sight === null) throw new Error("A new submission was taken for a look-up.");
      return { view: estimates.view(sight), replayed: sight.replayed, rate };
    },

    async preview(caller, request) {
      const judged = await judge(caller, request, false);
      if ("refused" in judged) return judged;
      const { sight, policy, rate } = judged;
      const operation = operationOf(request.operation);
      const outlook = await outlookOf(caller, operation, policy);
      const { active } = outlook;
      const limit = caller.tier.active;
      if (sight !== null) {
        const { position, completionAt } = estimates.view(sight);
        return { repeats: sight.job.id, position, completionAt, quota: { active, limit, cost: 0 }, rate };
      }
      const { position } = outlook;
      const { remainingMs } = estimates.outlook(operation.name, position, request.delayMs);
      const completionAt = Math.round(now() + remainingMs);
      return { repeats: null, position, completionAt, quota: { active, limit, cost: 1 }, rate };
    },

    async get(caller, id) {
      const sight = await store.read({ get: "job", address: addressOf(caller.owner, id) });
      return sight === null ? null : estimates.view(sight);
    },

    async wait(caller, id, waitMs, signal) {
      let ended = () => {};
      const end = new Promise<void>((resolve) => (ended = resolve));
      // Before the first look, so that an end between look and wait is not missed.
      const unfollow = feed.follow(id, (event) => {
        if (event.owner === caller.owner && endsJob(event.kind)) ended();
      });
      const timer = setTimeout(ended, waitMs);
      signal.addEventListener("abort", ended, { once: true });
      try {
        const first = await this.get(caller, id);
        if (first === null || isSettled(first.job.status) || signal.aborted) return first;
        await end;
        return await this.get(caller, id);
      } finally {
        unfollow();
        clearTimeout(timer);
        signal.removeEventListener("abort", ended);
      }
    },

    async list(caller, { after, ...filter }) {
      const { sights, nextRow } = await store.read({
        get: "list",
        filter: { owner: caller.owner, ...filter, ...(after === undefined ? {} : { belowRow: after }) },
      });
      return { views: sights.map((sight) => estimates.view(sight)), next: nextRow };
    },

    async cancel(caller, id): Promise<View | Refused | null> {
      const address = addressOf(caller.owner, id);
      const written = await store.write({ do: "cancel", address });
      if ("refused" in written && written.refused === "not-found") {
        // A tombstone is told apart from nothing, by its owner.
        return this.get(caller, id);
      }
      if (written.job === undefined) throw new Error("A cancel was answered without its job.");
      const view = estimates.view({ job: written.job, position: null, waitingFor: null });
      if ("did" in written) return view;
      return {
        refused: problem("already-settled", `The job is ${written.job.status}.`),
        retryAfterSeconds: null,
        rate: null,
        view,
      };
    },
  };
}

/** A submission that nothing is against. */
interface Judged {
  readonly policy: Policy;
  readonly rate: RateState | null;
  /** The job that was accepted, now or before; null where it is only known that it would be. */
  readonly sight: (Sight & { readonly replayed: boolean }) | null;
}

// What the caller names says which submissions are the same: its id before all, then its key. Content says it for those
// who name nothing.
function samenessOf({ owner }: Caller, { name, dedupe }: Operation, request: SubmitRequest): Sameness | null {
  if (request.idFromCaller) return null;
  if (request.key !== null) {
    return { key: keyDigest(owner, name, request.key), fingerprint: request.fingerprint, reach: "life" };
  }
  if (dedupe !== "content") return null;
  const content = contentDigest(owner, name, request.input, request.upload?.sha256 ?? "");
  return { key: content, fingerprint: content, reach: "live" };
}

// The policy a job lives by: its operation's, with the caller's tier. The same one is the same object, which the
// store keeps once.
function createPolicies(): (operation: Operation, caller: Caller, request: SubmitRequest) => Policy {
  const policies = new Map<string, Policy>();
  return ({ name, policy }, { tier }, request) => {
    const priority = policy.priority + tier.priority + Math.min(0, request.priority);
    const key = `${name} ${priority} ${tier.weight} ${tier.running}`;
    let known = policies.get(key);
    if (known === undefined) {
      known = { ...policy, priority, weight: tier.weight, running: tier.running };
      policies.set(key, known);
    }
    return known;
  };
}
