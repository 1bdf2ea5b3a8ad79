// Which fault strikes in which cycle: decided by the seed before anything runs.

import { createDice, type Dice } from "./dice.ts";

/** Places in the product at which a process can be made to die; `points.ts` and `tap.ts` find them. */
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
  | { readonly kind: "moment"; readonly of: Victim; readonly afterMs: number }
  /** SIGKILL when it comes to the point for the nth time under load. */
  | { readonly kind: "point"; readonly of: Victim; readonly point: LoadPoint; readonly nth: number }
  /** SIGKILL from outside, and again this long after it was started anew: before it is ready, or soon after. */
  | { readonly kind: "start"; readonly of: Victim; readonly afterMs: number }
  /** A worker is stopped for longer than its lease, and goes on later. */
  | { readonly kind: "stop" }
  /** SIGKILL of the store's own server, which is started again after a while. */
  | { readonly kind: "engine"; readonly afterMs: number; readonly downMs: number }
  /** What happens to one process's way to the store, for a while. */
  | { readonly kind: Break; readonly of: Victim; readonly afterMs: number; readonly lastsMs: number };

export type Break = "cut" | "delay" | "half-open" | "lost reply";

/** Who is to be hit: one that answers callers, or one that works. */
export type Victim = "serve" | "work";

/** How often each kind comes in a hundred cycles. */
export type Deck = Readonly<Partial<Record<Strike["kind"], number>>>;

/** Where every process has the file itself. */
export const FILE_DECK: Deck = { moment: 38, point: 48, start: 8, stop: 6 };

/** Where the store is behind a socket. */
export const SOCKET_DECK: Deck = {
  ...{ moment: 22, point: 38, start: 5, stop: 5 },
  ...{ engine: 8, cut: 6, delay: 4, "half-open": 4, "lost reply": 8 },
};

/** The strike of a cycle; always at one of the `points`, where these are given. */
export function planStrike(seed: string, cycle: number, deck: Deck, points?: readonly LoadPoint[]): Strike {
  const dice = createDice(`${seed}/cycle ${cycle}`);
  if (points !== undefined) return planPoint(dice, points);
  // A pack of all kinds, shuffled: none stays away for long.
  const pack = Object.entries(deck).flatMap(([kind, count]) => Array<string>(count).fill(kind));
  const shuffling = createDice(`${seed}/pack ${Math.floor(cycle / pack.length)}`);
  for (let at = pack.length - 1; at > 0; at--) {
    const other = shuffling.whole(0, at);
    [pack[at], pack[other]] = [pack[other]!, pack[at]!];
  }
  const kind = pack[cycle % pack.length] as Strike["kind"];
  const of = dice.chance(0.5) ? "serve" : "work";
  if (kind === "point") return planPoint(dice, POINTS);
  if (kind === "moment") return { kind, of, afterMs: dice.whole(5, 120) };
  if (kind === "start") return { kind, of, afterMs: dice.whole(40, 450) };
  if (kind === "stop") return { kind };
  if (kind === "engine") return { kind, afterMs: dice.whole(5, 120), downMs: dice.whole(0, 300) };
  return { kind, of, afterMs: dice.whole(5, 80), lastsMs: dice.whole(50, 400) };
}

function planPoint(dice: Dice, points: readonly LoadPoint[]): Strike {
  const point = dice.pick(points);
  return { kind: "point", of: point.startsWith("accept") ? "serve" : "work", point, nth: dice.whole(1, 8) };
}

/** For people: `serve at accept-before-commit #3`, `work killed after 117 ms`. */
export function describeStrike(strike: Strike): string {
  switch (strike.kind) {
    case "point":
      return `${strike.of} killed at ${strike.point} #${strike.nth}`;
    case "moment":
      return `${strike.of} killed after ${strike.afterMs} ms`;
    case "start":
      return `${strike.of} killed, and again ${strike.afterMs} ms into its start`;
    case "stop":
      return "work stopped for longer than its lease";
    case "engine":
      return `the store's server killed after ${strike.afterMs} ms, for ${strike.downMs} ms`;
    default:
      return `${strike.of}: ${strike.kind} after ${strike.afterMs} ms, for ${strike.lastsMs} ms`;
  }
}
