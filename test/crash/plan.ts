// Which kill strikes in which cycle: decided by the seed before anything runs.

import { createDice, type Dice } from "./dice.ts";

/** Places in the product at which a process can be made to die; `points.ts` finds them. */
export const POINTS = [
  "accept-before-commit",
  "accept-after-commit",
  "accept-before-reply",
  "accept-half-reply",
  "accept-after-reply",
  "claim-before-commit",
  "claim-after-commit",
  "settle-before-commit",
  "settle-after-commit",
] as const;

/** Places on the way to a store that is there; a process dies at them whenever it comes to them. */
export const CREATE_POINTS = ["create-begun", "create-before-name"] as const;

/** A place in the handling of a request or an attempt. */
export type LoadPoint = (typeof POINTS)[number];

export type Point = LoadPoint | (typeof CREATE_POINTS)[number];

/** What a kill fell into. A claim, a listing, a handler's work and a start are `other`. */
export type Inside = "accept" | "settle" | "other";

export type Strike =
  /** SIGKILL from outside, this long after the load began. */
  | { readonly kind: "moment"; readonly afterMs: number }
  /** SIGKILL by its own hand, when it comes to the point for the nth time under load. */
  | { readonly kind: "point"; readonly point: LoadPoint; readonly nth: number }
  /** SIGKILL from outside, this long after the process was started: before it serves, or soon after. */
  | { readonly kind: "start"; readonly afterMs: number }
  /** SIGKILL by its own hand, where the store is made. */
  | { readonly kind: "create"; readonly point: (typeof CREATE_POINTS)[number] };

/** A process that makes no store does not come to the points of that; it is killed after this. */
export const MOST_CREATE_MS = 2000;

/** The strike of a cycle; always at one of the `points`, where these are given. */
export function planStrike(seed: string, cycle: number, points?: readonly LoadPoint[]): Strike {
  const dice = createDice(`${seed}/cycle ${cycle}`);
  if (points !== undefined) return { kind: "point", ...planPoint(dice, points) };
  const create = CREATE_POINTS[cycle];
  if (create !== undefined) return { kind: "create", point: create };
  const kind = dice.next();
  if (kind < 0.45) return { kind: "moment", afterMs: dice.whole(5, 200) };
  if (kind < 0.92) return { kind: "point", ...planPoint(dice, POINTS) };
  return { kind: "start", afterMs: dice.whole(40, 500) };
}

function planPoint(
  dice: Dice,
  points: readonly LoadPoint[],
): { readonly point: LoadPoint; readonly nth: number } {
  return { point: dice.pick(points), nth: dice.whole(1, 15) };
}

/** For people: `accept-before-commit #3`, `after 117 ms`. */
export function describeStrike(strike: Strike): string {
  if (strike.kind === "point") return `${strike.point} #${strike.nth}`;
  if (strike.kind === "create") return strike.point;
  return strike.kind === "moment" ? `after ${strike.afterMs} ms` : `${strike.afterMs} ms into the start`;
}
