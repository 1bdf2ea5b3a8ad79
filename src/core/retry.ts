// How long a failed attempt's successor waits.

/** The waits between attempts. A job carries its own from its acceptance on. */
export interface Backoff {
  /** How the wait grows with the failures: doubling, by `baseMs` each, or not at all. */
  readonly kind: "exponential" | "linear" | "fixed";
  /** The wait after the first failure. */
  readonly baseMs: number;
  /** No wait is longer than this. */
  readonly maxMs: number;
  /** The share of the wait that is random, 0 to 1: with 0.5, a wait lies between half of itself and the whole. */
  readonly jitter: number;
}

/** 1 s, 2 s, 4 s … up to 5 minutes, half of it random so that jobs that failed together do not return together. */
export const DEFAULT_BACKOFF: Backoff = { kind: "exponential", baseMs: 1000, maxMs: 300_000, jitter: 0.5 };

/**
 * The wait in whole milliseconds after the given number of failures (from 1): at least 0, at most `maxMs`, and never
 * shorter than after fewer failures with the same dice (0..1).
 */
export function backoffMs(backoff: Backoff, failures: number, dice: number): number {
  const whole = Math.min(backoff.maxMs, backoff.baseMs * growth(backoff.kind, Math.max(1, failures)));
  return Math.floor(whole * (1 - backoff.jitter) + whole * backoff.jitter * dice);
}

function growth(kind: Backoff["kind"], failures: number): number {
  if (kind === "fixed") return 1;
  // Bounded, because 0 ms doubled a thousand times would be 0 × Infinity.
  return kind === "linear" ? failures : 2 ** Math.min(failures - 1, 60);
}
