// The caller's side of the ledger: `Jobs` over a store.

import { isSettled, type Policy } from "../core/job.ts";
import type { Caller, Jobs, Refused, SubmitRequest, View } from "../core/jobs.ts";
import type { Operation } from "../core/operation.ts";
import type { Operations } from "../core/operations.ts";
import { problem } from "../core/problem.ts";
import type { Sameness, Store } from "../store/store.ts";
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

  // What needs the outlook is asked only where a deadline or a dry run wants it.
  const late = async (caller: Caller, request: SubmitRequest, policy: Policy): Promise<number | null> => {
    const within = startWithinMs(request, operationOf(request.operation));
    if (within === null) return null;
    const { position } = await store.read({
      get: "outlook",
      owner: caller.owner,
      operation: request.operation,
      priority: policy.priority,
      weight: policy.weight,
    });
    const { waitMs } = estimates.outlook(request.operation, position, request.delayMs);
    // A deadline that has passed can't be kept, however free the workers are.
    return waitMs > within || within <= 0 ? Math.max(1, Math.ceil((waitMs - within) / 1000)) : null;
  };

  return {
    createId,
    address: addressOf,

    async submit(caller, request) {
      const operation = operationOf(request.operation);
      const { rate, retryAfterSeconds } = rates.take(caller);
      if (retryAfterSeconds !== null) return refuse("rate-limited", undefined, retryAfterSeconds, rate);
      const policy = policies(operation, caller, request);
      const lateSeconds = await late(caller, request, policy);
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
          startWithinMs: startWithinMs(request, operation),
        },
        sameness: samenessOf(caller, operation, request),
        address: addressOf(caller.owner, id),
        idFingerprint: request.idFromCaller ? request.fingerprint : null,
        limits: { active: caller.tier.active, operationBacklog: operation.backlog, backlog },
        // What was accepted before is no less accepted for being repeated late.
        onlyRepeat: lateSeconds !== null,
      });
      if ("did" in written) return { view: estimates.view(written), replayed: written.replayed, rate };
      if (lateSeconds !== null && written.refused === "not-found") {
        return refuse("deadline-unattainable", undefined, Math.max(1, lateSeconds), rate);
      }
      const { refused } = written;
      if (refused === "key-reused" || refused === "over-quota" || refused.endsWith("backlog-full")) {
        return refusalOf(
          refused as "key-reused",
          caller,
          operation,
          estimates.roomSeconds(operation.name),
          rate,
        );
      }
      throw new Error(`A submission was refused as ${refused}.`);
    },

    async preview(caller, request) {
      const operation = operationOf(request.operation);
      const policy = policies(operation, caller, request);
      // In the order in which a submit is judged, so that both are refused for the same reason.
      const { rate, retryAfterSeconds } = rates.look(caller);
      if (retryAfterSeconds !== null) return refuse("rate-limited", undefined, retryAfterSeconds, rate);
      const { position, active, waiting } = await store.read({
        get: "outlook",
        owner: caller.owner,
        operation: operation.name,
        priority: policy.priority,
        weight: policy.weight,
      });
      const room = estimates.roomSeconds(operation.name);
      const limit = caller.tier.active;
      if (limit !== null && active >= limit) return refusalOf("over-quota", caller, operation, room, rate);
      if (waiting >= operation.backlog)
        return refusalOf("operation-backlog-full", caller, operation, room, rate);
      const { operations: all } = await store.read({ get: "counts" });
      const waitingInAll = Object.values(all).reduce((sum, { queued }) => sum + queued, 0);
      if (waitingInAll >= backlog) return refusalOf("backlog-full", caller, operation, room, rate);
      const lateSeconds = await late(caller, request, policy);
      if (lateSeconds !== null)
        return refuse("deadline-unattainable", undefined, Math.max(1, lateSeconds), rate);
      const { remainingMs } = estimates.outlook(operation.name, position, request.delayMs);
      return {
        position,
        completionAt: Math.round(now() + remainingMs),
        quota: { active, limit, cost: 1 },
        rate,
      };
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

function samenessOf({ owner }: Caller, { name, dedupe }: Operation, request: SubmitRequest): Sameness | null {
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
