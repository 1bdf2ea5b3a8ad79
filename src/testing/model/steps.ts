// What callers, workers, operators and clocks may do, as data: fast-check draws lists of it, and makes a list that fails
// shorter. A number that names a job or an attempt is taken modulo those that there are, so every list can be played.

import type FastCheck from "fast-check";
import type { Arbitrary } from "fast-check";

export interface SubmitStep {
  readonly do: "submit";
  readonly owner: number;
  readonly operation: number;
  /** What makes it the same as another: nothing, one of two keys, its content, or one of two ids of the caller. */
  readonly same: "none" | "key-0" | "key-1" | "content" | "id-0" | "id-1";
  readonly payload: number;
  readonly delayMs: number;
  readonly startWithinMs: number | null;
  readonly policy: {
    readonly priority: number;
    readonly weight: number;
    readonly running: number | null;
    readonly isolated: boolean;
    readonly maxAttempts: number;
    readonly retentionMs: number;
  };
  readonly active: number | null;
  readonly operationBacklog: number;
  readonly backlog: number;
}

export interface ClaimStep {
  readonly do: "claim";
  readonly worker: number;
  /** Of each operation. */
  readonly slots: readonly number[];
  readonly limit: number;
  readonly held: boolean;
  /** It waits for work until it is withdrawn, after all that was asked beside it. */
  readonly waits: boolean;
}

export type WriteStep =
  | SubmitStep
  | ClaimStep
  /** `late`: of any attempt that ever was, rather than of those that run. */
  | {
      readonly do: "heartbeat";
      readonly pick: number;
      readonly late: boolean;
      readonly tells: number | null;
      readonly checkpoint: boolean;
    }
  | { readonly do: "settle"; readonly pick: number; readonly late: boolean; readonly outcome: number }
  | { readonly do: "cancel"; readonly pick: number }
  | { readonly do: "sweep"; readonly limit: number }
  | { readonly do: "pause"; readonly operation: number; readonly paused: boolean }
  | { readonly do: "learn"; readonly operation: number };

export type Step = (
  | WriteStep
  /** All of them are asked before any is answered. */
  | { readonly do: "together"; readonly writes: readonly WriteStep[] }
  | { readonly do: "pass"; readonly ms: number }
  /** Workers fall silent, are given up, and what they had is claimed anew. */
  | { readonly do: "overtake"; readonly claim: ClaimStep }
  | { readonly do: "step"; readonly ms: number }
  /** The store is closed and opened again; `writes` are asked just before it closes. */
  | { readonly do: "reopen"; readonly writes: readonly WriteStep[] }
  /** The store's process dies. */
  | { readonly do: "crash" }
) & {
  /** Which instance is asked, where there are several. */
  readonly at: number;
};

export const OPERATIONS = 3;
export const OWNERS = 3;

const SECOND_MS = 1000;
const HOUR_MS = 3600 * SECOND_MS;
const DAY_MS = 24 * HOUR_MS;

/** Lists of steps. */
export function stepsArbitrary(fc: typeof FastCheck, most: number): Arbitrary<readonly Step[]> {
  const small = (max: number) => fc.nat({ max });
  const submit: Arbitrary<SubmitStep> = fc.record({
    do: fc.constant("submit"),
    owner: small(OWNERS - 1),
    operation: oftenZero(fc, small(OPERATIONS - 1)),
    same: fc.constantFrom("none", "none", "none", "key-0", "key-0", "key-1", "content", "id-0", "id-1"),
    payload: oftenZero(fc, small(1)),
    delayMs: fc.constantFrom(0, 0, 0, 0, 5000, 60_000),
    startWithinMs: fc.constantFrom(null, null, null, null, 3000, 60_000),
    policy: fc.record({
      priority: fc.constantFrom(0, 0, 0, 1, -1),
      weight: fc.constantFrom(1, 1, 1, 3),
      running: fc.constantFrom(null, null, null, 1, 2),
      isolated: fc.boolean(),
      maxAttempts: fc.constantFrom(1, 2, 3, 9),
      retentionMs: fc.constantFrom(2000, HOUR_MS, 3 * DAY_MS),
    }),
    active: fc.constantFrom(null, null, null, 1, 2, 3),
    operationBacklog: fc.constantFrom(1e9, 1e9, 1e9, 2),
    backlog: fc.constantFrom(1e9, 1e9, 1e9, 4),
  });
  const claim: Arbitrary<ClaimStep> = fc.record({
    do: fc.constant("claim"),
    worker: small(2),
    slots: fc.array(fc.constantFrom(2, 1, 0, 5), { minLength: OPERATIONS, maxLength: OPERATIONS }),
    limit: fc.constantFrom(3, 1, 10, 0),
    held: fc.boolean(),
    waits: fc.constant(false),
  });
  const seldom = fc.constantFrom(false, false, false, true);
  const given = fc.oneof(
    { weight: 6, arbitrary: submit },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("heartbeat"),
        pick: small(7),
        late: seldom,
        tells: fc.constantFrom(null, 10, 50),
        checkpoint: fc.boolean(),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("settle"), pick: small(7), late: seldom, outcome: small(6) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel"), pick: small(7) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant("learn"), operation: small(OPERATIONS - 1) }),
    },
  );
  const write = fc.oneof(
    { weight: 9, arbitrary: given },
    { weight: 5, arbitrary: claim },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("sweep"), limit: fc.constantFrom(500, 500, 1) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("pause"),
        operation: small(OPERATIONS - 1),
        paused: fc.boolean(),
      }),
    },
  ) as Arbitrary<WriteStep>;
  const waiting = claim.map((one): WriteStep => ({ ...one, waits: true }));
  const together = fc.array(fc.oneof({ weight: 6, arbitrary: write }, { weight: 1, arbitrary: waiting }), {
    minLength: 2,
    maxLength: 4,
  });
  const step = fc.oneof(
    { weight: 140, arbitrary: write },
    { weight: 60, arbitrary: together.map((writes) => ({ do: "together" as const, writes })) },
    {
      weight: 50,
      arbitrary: fc.record({
        do: fc.constant("pass" as const),
        ms: fc.constantFrom(1000, 7000, 16_000, 70_000, 70_000, 2 * HOUR_MS, 25 * HOUR_MS),
      }),
    },
    {
      weight: 10,
      arbitrary: fc.record({ do: fc.constant("step" as const), ms: fc.constantFrom(DAY_MS, -DAY_MS) }),
    },
    {
      // A start may cost more than all else of a list.
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("reopen" as const),
        writes: fc.array(given as Arbitrary<WriteStep>, { maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: "crash" as const }) },
    { weight: 20, arbitrary: claim.map((one) => ({ do: "overtake" as const, claim: one })) },
  );
  const placed = fc.tuple(step, small(3)).map(([one, at]) => ({ ...one, at }) as Step);
  return fc.array(placed, { minLength: 1, maxLength: most, size: "max" });
}

function oftenZero(fc: typeof FastCheck, some: Arbitrary<number>): Arbitrary<number> {
  return fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: some });
}
